"""Equal tuning: proposals of values for every method, rounds of ordinary trials on training clips, and the choice."""

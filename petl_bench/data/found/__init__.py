"""Which files lie under a data root, and which clip each of them is."""

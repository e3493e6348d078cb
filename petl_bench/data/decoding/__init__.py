"""From a file and frame indices to pictures."""

"""From a command to a plan: trials, values, what is missing."""

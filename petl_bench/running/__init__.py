"""From a spec to a plan, from a plan to trials, from trials to records; launchers and resume."""

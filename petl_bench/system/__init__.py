"""Files, processes and the machine, without knowledge of what they are used for."""

"""Looking after folders of runs: what lies in them, deleting, merging, moving, exporting. Never loads torch."""

"""The launcher for SLURM."""

"""Profiles for clusters, one TOML file each, to be named with `petl-bench run --launcher slurm --profile NAME`."""

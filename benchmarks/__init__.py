"""Settings, data sets and backbones, one file each."""

"""What authors of plugins build on. Nothing here loads torch."""

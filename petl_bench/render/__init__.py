"""One renderer per output format; none of them knows a table by name."""

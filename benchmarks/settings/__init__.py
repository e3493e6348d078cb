"""One file = one protocol."""

"""One file = one tracker. To add one, copy a file, or start with `petl-bench new tracker NAME`."""

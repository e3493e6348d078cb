"""One file = one method. To add one, copy a file, or start with `petl-bench new method NAME`."""

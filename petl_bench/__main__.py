"""`python -m petl_bench` is the same as `petl-bench`."""

from petl_bench.cli import main

main()

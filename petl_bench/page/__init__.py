"""One self-contained page of everything that records say: tables, plots, classes, missed clips, costs, provenance.

It reads records alone; what it shows of a clip is handed in by whoever can read clips (`petl_bench.page.misses`).
"""

"""One self-contained page of everything that records say: tables, plots, classes, missed clips, costs, provenance.

It reads records alone; frames of clips come from a function that the command passes in (`petl_bench.page.misses`).
"""

"""Adapters that leave a folder of runs, or enter it: files, merged models, towers for other programs, the Hub."""

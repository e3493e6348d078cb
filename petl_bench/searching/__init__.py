"""Searching a folder of videos with texts: an adapted model, an index of the folder on disk, rankings."""

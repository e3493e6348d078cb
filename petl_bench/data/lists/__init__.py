"""Annotations: lists of clips and class folders as labelled clips; class descriptions."""

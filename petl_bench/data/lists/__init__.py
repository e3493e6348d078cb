"""Annotations: lists of clips, labels, groups, class descriptions."""

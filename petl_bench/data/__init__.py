"""Decoding, frame sampling, transforms, annotation readers, manifests, caches and loading."""

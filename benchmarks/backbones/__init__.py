"""One file = one backbone: configuration, weights, expected scores."""

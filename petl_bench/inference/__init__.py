"""Using a trained adapter: from a trial's folder or an adapter file to a model that encodes and classifies videos."""

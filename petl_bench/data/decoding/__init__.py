"""From a file and frame indices to frames: decoders, file types, and how frames are chosen."""

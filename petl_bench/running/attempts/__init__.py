"""One trial on one machine: claims, files, interrupts, status."""

"""What a finished trial leaves on disk: written, judged, read back."""

"""CSV tables of boxes."""

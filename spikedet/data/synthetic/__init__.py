"""The built-in synthetic set."""

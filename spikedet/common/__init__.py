"""What every part may use: errors, files, processes, what surrounds a run."""

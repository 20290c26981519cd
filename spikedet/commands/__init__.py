"""One file for each command, of the same name: load, compute, write."""

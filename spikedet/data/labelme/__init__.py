"""LabelMe's JSON: a file for each image, shapes in it."""

"""COCO layout."""

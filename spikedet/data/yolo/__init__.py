"""YOLO layout."""

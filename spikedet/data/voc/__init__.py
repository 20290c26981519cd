"""PASCAL VOC layout."""

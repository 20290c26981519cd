"""See it: detections growing with time, on a web page or in a window."""

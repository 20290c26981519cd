"""Networks of any stage as one kind of thing: images in, detections by time step out."""

"""Training of whole networks: source training and Stage I share one loop."""

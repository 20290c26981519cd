"""spikedet: Tiny-YOLO detectors as spiking networks that keep their accuracy at few time steps."""

from spikedet.environment import quiet_ultralytics

quiet_ultralytics()

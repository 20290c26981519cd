"""Spiking neurons, layers, networks and their simulation by time step."""

from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.choose import make_backend
from spikedet.snn.current_lif import CurrentLIF
from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.network import IMAGE, Node, SpikingNetwork, qc_forward
from spikedet.snn.rates import layer_rates
from spikedet.snn.simulator import Simulation, simulate

__all__ = [
    "IMAGE",
    "Backend",
    "CurrentLIF",
    "Node",
    "Readout",
    "Simulation",
    "SpikingConv",
    "SpikingNetwork",
    "layer_rates",
    "make_backend",
    "qc_forward",
    "simulate",
]

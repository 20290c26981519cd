"""Spiking neurons, layers, networks and their simulation by time step."""

from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.choose import make_backend
from spikedet.snn.current_lif import CurrentLIF
from spikedet.snn.functional import asymmetric_if_step, clif_step, if_step, signed_if_step
from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.network import IMAGE, Node, SpikingNetwork, qc_forward
from spikedet.snn.rates import layer_rates
from spikedet.snn.simulator import Readings, Simulation, simulate
from spikedet.snn.surrogate import fire, firing

__all__ = [
    "IMAGE",
    "Backend",
    "CurrentLIF",
    "Node",
    "Readings",
    "Readout",
    "Simulation",
    "SpikingConv",
    "SpikingNetwork",
    "asymmetric_if_step",
    "clif_step",
    "fire",
    "firing",
    "if_step",
    "layer_rates",
    "make_backend",
    "qc_forward",
    "signed_if_step",
    "simulate",
]

"""The event-driven C++ backend: bit-packed spikes, convolution and neurons in one pass."""

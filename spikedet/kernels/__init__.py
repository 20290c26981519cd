"""C++ kernels, compiled at first use: activations in training, spike trains and neurons in simulation."""

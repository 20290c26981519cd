"""How a simulation is computed: torch, compiled kernels, Triton."""

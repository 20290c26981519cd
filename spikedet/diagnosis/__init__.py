"""Why a converted network's outputs differ: quantization, clipping and residual error, layer by layer."""

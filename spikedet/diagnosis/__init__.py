"""Why a converted network answers differently: quantization, clipping and residual error, layer by layer."""

"""Where bfloat16 is worth computing in: on processors that multiply it; emulated it is ten times as slow as float32."""

from __future__ import annotations

import torch

MULTIPLIES = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Any of these capabilities of a CPU will do: x86-64 and ARM."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware does; False where torch cannot tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.6 does not know it
    return capabilities is not None and any(capabilities().get(name) for name in MULTIPLIES)


def takes_bfloat16(device: torch.device, precision: str) -> bool:
    """Whether convolutions are in bfloat16: where it is asked for, with ``auto`` where the hardware multiplies it."""
    return precision == "bf16" or (precision == "auto" and multiplies_bfloat16(device))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Convolutions in bfloat16, if the precision is that here."""
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bfloat16(device, precision))

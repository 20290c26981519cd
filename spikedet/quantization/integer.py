"""The activation of spike firing approximation (SFA): a leaky neuron that sends whole numbers of spikes (I-LIF).

    U[t] = beta (U[t-1] - theta S[t-1]) + X[t],    S[t] = clip(floor(U[t] / theta + 1/2), 0, D),    output theta S[t]

With ``worth`` 1 / D the output is theta S / D. The gradient of theta S[t] is 1 for 0 <= U[t] <= D theta, else 0; the
reset passes none. At T = 1 the neuron is the QC activation with D levels. Source: Yao et al., "Scaling Spike-Driven
Transformer With Efficient Spike Firing Approximation Training", TPAMI 2025. Theirs rounds half to even, ours half up,
as an IF neuron with u[0] = theta / 2 fires; theirs holds theta = 1, ours may be trained. ``theta`` of the module is the
range of its output, D spikes.

With a slope (LeakyReLU, or 1 for a convolution without activation) negative spikes count too, as in ``activation``:

    S[t] = -clip(floor(-slope (U[t] / theta + 1/2)), 0, D)    for U[t] < 0; one of them resets by theta / slope
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.quantization.activation import ClippedReLU, qc_quantize


class IntegerActivation(ClippedReLU):
    """I-LIF neurons; they remember their membrane potential from one call to the next until ``reset``.

    Args:
        channels: as ``ClippedReLU``.
        theta: the largest output, worth D spikes.
        slope: as ``ClippedReLU``.
        D: most spikes in one real time step, at least 1.
        beta: leak between real time steps, in [0, 1].

    Shape:
        ``[N, C, H, W]``, the input current of one real time step -> the same.
    """

    def __init__(
        self, channels: int = 1, theta: float = 4.0, slope: float = 0.0, *, D: int = 4, beta: float = 0.25
    ) -> None:
        super().__init__(channels, theta, slope)
        if D < 1:
            raise ValueError(f"D must be at least 1, got {D}")
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"the leak beta is a fraction in [0, 1], got {beta}")
        self.D, self.beta = D, beta
        self.left: Tensor | None = None

    def reset(self) -> None:
        """Forget the membrane potential."""
        self.left = None

    def forward(self, x: Tensor) -> Tensor:
        # Membranes are float32 under autocast too.
        potential = x if self.left is None else torch.add(x.float(), self.left, alpha=self.beta)
        output = qc_quantize(potential, self.theta, self.D, slope=self.slope, waits=True)
        if self.beta:
            sent = output.detach()
            sent = torch.where(sent < 0, sent / self.slope, sent) if self.slope else sent
            self.left = potential.float() - sent
        return self._valued(output).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, D={self.D}, beta={self.beta:g}"

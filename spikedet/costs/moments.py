"""Mean and standard deviation of numbers that come batch by batch; nothing is kept but two sums."""

from __future__ import annotations

from torch import Tensor


class Moments:
    """Of several numbers at once, over images.

    Batches are joined by the pairwise update of Chan, Golub and LeVeque (1983), stable where sums of squares are not:

        M2 = M2_a + M2_b + (mean_b - mean_a)^2 n_a n_b / (n_a + n_b)
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """One batch ``[..., N]``, N at least 1."""
        values = values.double()
        number, mean = values.shape[-1], values.mean(-1)
        squares = (values - mean.unsqueeze(-1)).square().sum(-1)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = mean, squares
        else:
            total, apart = self.count + number, mean - self._mean
            self._squares = self._squares + squares + apart.square() * (self.count * number / total)
            self._mean = self._mean + apart * (number / total)
        self.count += number

    @property
    def mean(self) -> Tensor:
        """``[...]``."""
        assert self._mean is not None, "nothing was added"
        return self._mean

    @property
    def std(self) -> Tensor:
        """``[...]``, of the sample (divided by N - 1); zero for one image."""
        assert self._squares is not None, "nothing was added"
        return (self._squares / max(self.count - 1, 1)).sqrt()

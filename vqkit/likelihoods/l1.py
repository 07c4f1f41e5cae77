"""Mean absolute error."""

from __future__ import annotations

import math

from torch import Tensor

from vqkit.likelihoods.base import Distortion
from vqkit.signal import Signal


class L1(Distortion):
    """weight x |x - x_hat| in the normalised range [-1, 1]. `Laplace(1 / weight)` has the same gradients, and scores.

    Raises ValueError where weight is not finite and above 0."""

    def __init__(self, weight: float = 4.0) -> None:
        super().__init__()
        if not 0 < weight < math.inf:
            raise ValueError(f"weight is {weight}; give a finite number above 0")
        self.weight = weight

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        return self.weight * (signal.normalise(x) - parameters.float()).abs()

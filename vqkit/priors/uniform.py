"""Every symbol alike: what tokens cost before anything is known of them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from vqkit.priors.independent import IndependentPrior
from vqkit.signal import Indices, Side


class UniformPrior(IndependentPrior):
    """p = 1 / K for each symbol, on grids of any size. Its rate is the layout's nominal bits; nothing is learned."""

    def tables(self) -> list[Tensor]:
        return [alphabet.log_softmax(1) for alphabet in self.alphabets()]

    def fit(self, stream: Iterable[tuple[Indices, Side]]) -> bool:
        """There is nothing to set."""
        return True

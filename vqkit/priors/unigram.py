"""How often each symbol is used, and nothing else: the baseline that every learned prior has to beat."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.priors.independent import IndependentPrior
from vqkit.priors.inputs import check_indices
from vqkit.signal import Indices, Layout, Side


class UnigramPrior(IndependentPrior):
    """p = (count + smoothing) / (all counts + K smoothing), for each codebook of each level, on grids of any size. It
    learns by `fit`.

    The buffers `counts_0`, ... [Q, K] int64 hold the counts of a level. `smoothing` (Laplace, above 0, else ValueError)
    keeps symbols that were never counted possible; without any counts the prior is uniform.
    """

    def __init__(self, layout: Layout, smoothing: float = 1.0) -> None:
        super().__init__(layout)
        if not smoothing > 0:
            raise ValueError(f"smoothing is {smoothing}; give a number above 0, so that every symbol stays possible")
        self.smoothing = smoothing
        for level, sizes in enumerate(layout.codebook_sizes):
            self.register_buffer(f"counts_{level}", torch.zeros(len(sizes), max(sizes), dtype=torch.int64))

    def tables(self) -> list[Tensor]:
        pairs = zip(self._counts(), self.alphabets(), strict=True)
        return [((counts.to(a.dtype) + self.smoothing).log() + a).log_softmax(1) for counts, a in pairs]

    def fit(self, stream: Iterable[tuple[Indices, Side]]) -> bool:
        """Counts the indices of a stream anew, forgetting what was counted before; the sides are not used."""
        counts = [count.zero_() for count in self._counts()]
        for indices, _ in stream:
            check_indices(indices, self.layout, any_grid=True)
            for count, level in zip(counts, indices, strict=True):
                for row, symbols in zip(count, level.unbind(1), strict=True):
                    row += torch.bincount(symbols.flatten(), minlength=len(row)).to(row.device)
        return True

    def _counts(self) -> list[Tensor]:
        return [self.get_buffer(f"counts_{level}") for level in range(len(self.layout.grids))]

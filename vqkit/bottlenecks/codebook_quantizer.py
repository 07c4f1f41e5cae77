"""What all quantizers share whose codes are the vectors of one `Codebook`."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.bottlenecks.base import Quantizer, norms, squared_distance_logits, to_grid, to_vectors
from vqkit.bottlenecks.codebook import Codebook


class CodebookQuantizer(Quantizer, ABC):
    """One `codebook` for every position, learned by gradient unless a member says otherwise. A member writes `latent`,
    which tells `see` what each code won; `update` counts that and revives dead codes."""

    stateful = True

    def __init__(self, dim: int, codebook_size: int, decay: float, revival: float, learned: bool = True) -> None:
        super().__init__()
        self.dim, self.codebook_size, self.decay, self.revival = dim, codebook_size, decay, revival
        self.codebook_sizes = (codebook_size,)
        self.codebook = Codebook(codebook_size, dim, learned, decay, revival)

    def logits(self, vectors: Tensor) -> Tensor:
        """[N, D] -> [N, K], whose softmax is `assignment`: minus the squared distances, up to a constant a vector."""
        return squared_distance_logits(vectors, self.codebook.vectors)

    def assignment(self, z_e: Tensor) -> Tensor:
        with torch.autocast(z_e.device.type, enabled=False):
            return to_grid(self.logits(to_vectors(z_e.float())).log_softmax(1), z_e).unsqueeze(1)

    def z_of(self, indices: Tensor) -> Tensor:
        return self.codebook.lookup(indices.squeeze(1)).movedim(-1, 1)

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        self.codebook.initialise(vectors)

    def see(self, vectors: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Remembers in training mode what was won, [N, D] and [N], where `mask` [B, *grid] is True."""
        if self.training:
            real = slice(None) if mask is None else mask.flatten()
            self.codebook.see(vectors[real], indices[real])

    def stats(self, z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """Of z_e and the codes that were chosen [B, D, *grid]."""
        return self.codebook.stats() | norms(z_e, z_q, mask)

    @torch.no_grad()
    def advance(self) -> None:
        if (won := self.codebook.collect()) is not None:
            self.codebook.revive(won.vectors)

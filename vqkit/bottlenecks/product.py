"""Product quantization: each part of the channels has its own quantizer (Jegou, Douze and Schmid 2011,
https://doi.org/10.1109/TPAMI.2010.57)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import tee

import torch
from torch import Tensor, nn

from vqkit.bottlenecks import arguments
from vqkit.bottlenecks.base import Latent, Quantizer, to_grid, to_vectors
from vqkit.bottlenecks.composite import CompositeQuantizer, join_assignments


class ProductQuantizer(CompositeQuantizer):
    """The channels are split among the heads `quantizers` in their order, as many to each as its `dim`: with K codes in
    each of Q heads, z has K^Q values. The loss is the heads' mean over all channels."""

    def __init__(self, quantizers: Sequence[Quantizer]) -> None:
        """Raises ValueError where there is no quantizer, one occurs twice, or something is none."""
        super().__init__()
        if not quantizers:
            raise ValueError("quantizers is empty; a product has at least one head")
        for number, head in enumerate(quantizers):
            arguments.quantizer(f"quantizers[{number}]", head)
        if len(set(quantizers)) < len(quantizers):
            raise ValueError("quantizers holds one quantizer twice; give each head its own, such as a copy.deepcopy")
        self.quantizers = nn.ModuleList(quantizers)
        self.codebook_sizes = tuple(size for head in quantizers for size in head.codebook_sizes)
        self._dims = [head.dim for head in quantizers]
        self.dim = sum(self._dims)
        self.straight_through = all(head.straight_through for head in quantizers)

    @property
    def parts(self) -> Sequence[Quantizer]:
        return tuple(self.quantizers)  # type: ignore[arg-type]

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        latents = [head.latent(part, mask) for head, part in zip(self.parts, z_e.split(self._dims, 1), strict=True)]
        losses = [latent.loss * dim / self.dim for latent, dim in zip(latents, self._dims, strict=True)]
        return self.join(_side_by_side([latent.z for latent in latents]), torch.stack(losses).sum(), latents)

    def z_of(self, indices: Tensor) -> Tensor:
        heads = zip(self.parts, self.split(indices), strict=True)
        return _side_by_side([head.z_of(columns) for head, columns in heads])

    def assignment(self, z_e: Tensor) -> Tensor:
        heads = zip(self.parts, z_e.split(self._dims, 1), strict=True)
        return join_assignments([head.assignment(part) for head, part in heads])

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        for number, (head, stream) in enumerate(zip(self.parts, tee(vectors, len(self.parts)), strict=True)):
            head.initialise(part.split(self._dims, 1)[number] for part in stream)


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """[B, D, *grid] of several D, joined; channels-last, however the parts lie in memory."""
    return to_grid(torch.cat([to_vectors(part) for part in parts], 1), parts[0])

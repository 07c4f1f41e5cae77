"""p(x | z, label): any decoder, told the class beside z."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.autoencoders.decoder import Decoder
from vqkit.nn import Reach
from vqkit.priors import Prior
from vqkit.signal import Side, labels


class ClassConditionalDecoder(Decoder):
    """Gives `decoder` z with a learned embedding of the label beside it at every position, [B, D + `dim`, *grid], so
    that z need not say what the label does (Sohn et al. 2015,
    https://proceedings.neurips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html). With a posterior
    q(z | x), which sees the label through x alone, the evidence lower bound is that of p(x | label).

    Args:
        decoder: for z of D + `dim` channels.
        classes: how many there are; `side` has the `label` of each sample, from 0 to classes - 1.
        dim: channels of the embedding.

    Raises:
        ValueError: there are no classes, or dim is below 1; in use, `side` has no label, or one beyond the classes.
    """

    def __init__(self, decoder: Decoder, classes: int, dim: int) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError("the data has no labels for the decoder; name a source with some, or set label_dim to 0")
        if dim < 1:
            raise ValueError(f"the label has {dim} channels; give it 1 or more")
        self.decoder, self.classes, self.dim = decoder, classes, dim
        self.embedding = nn.Embedding(classes, dim)

    @property
    def reach(self) -> Reach:
        return self.decoder.reach

    def _labelled(self, z: Tensor, side: Side) -> Tensor:
        told = self.embedding(labels(side, self.classes, len(z), z.device)).to(z.dtype)
        told = told.view(len(z), *(1,) * (z.ndim - 2), self.dim).expand(-1, *z.shape[2:], -1)
        return torch.cat([z.movedim(1, -1), told], -1).movedim(-1, 1)  # channels-last, as the nets want it

    def loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        return self.decoder.loss(x, self._labelled(z, side), side, mask)

    def mean_loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor | None:
        return self.decoder.mean_loss(x, self._labelled(z, side), side, mask)

    def nll(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        return self.decoder.nll(x, self._labelled(z, side), side, mask)

    def reconstruct(self, z: Tensor, side: Side) -> Tensor:
        return self.decoder.reconstruct(self._labelled(z, side), side)

    def sample(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        return self.decoder.sample(self._labelled(z, side), side, generator)

    @property
    def value_prior(self) -> Prior:
        return self.decoder.value_prior

    def value_context(self, z: Tensor, side: Side) -> Tensor:
        return self.decoder.value_context(self._labelled(z, side), side)

    def calibrate(self, x: Tensor, z: Tensor, side: Side) -> None:
        self.decoder.calibrate(x, self._labelled(z, side), side)

    def update(self) -> None:
        self.decoder.update()

    def render(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        return self.decoder.render(self._labelled(z, side), side, generator)

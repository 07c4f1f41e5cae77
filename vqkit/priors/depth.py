"""The symbols of one position, of all its codebooks in turn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqkit.nn.attention import rotations
from vqkit.nn.transformer import CachedTransformer, Transformer, phases


class DepthTransformer(nn.Module):
    """p(s_q | s_<q, features) of the Q symbols of a position, by a small transformer over them: its input at the first
    is the features of the position, at each further one the summed embeddings of the symbols before it (the depth
    transformer of the RQ-Transformer, Lee et al. 2022, https://arxiv.org/abs/2203.01941). Of one codebook there is
    nothing to attend to: its logits are an affine map of the features.

    Args:
        sizes: alphabet of each of the Q codebooks.
        width: of features and embeddings.
        layers: how many blocks.
        heads: of their attention.

    Raises ValueError where there is no block.
    """

    turns: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int, layers: int, heads: int) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"codebook_layers is {layers}; the codebooks of a position need at least one block")
        self.sizes, self.width, self.layers, self.heads = sizes, width, layers, heads
        several = len(sizes) > 1
        self.net = Transformer(width, layers, heads) if several else None
        self.codebook = nn.Parameter(0.1 * torch.randn(len(sizes), width)) if several else None
        self.outputs = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        for parameter in self.outputs.parameters():  # all symbols alike at first: the loss starts at log K
            nn.init.zeros_(parameter)
        turns = rotations(torch.arange(len(sizes))[:, None], width // heads) if several else torch.empty(0)
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, features: Tensor, embedded: Tensor, dropout: float = 0.0) -> list[Tensor]:
        """Features [B, n, width] and the positions' embedded symbols [B, Q, n, width] -> logits [B, n, K] of each."""
        if self.net is None or self.codebook is None:
            return [self.outputs[0](features)]
        before = embedded[:, :-1].cumsum(1)
        inputs = torch.cat([features[:, None], before], 1).movedim(1, 2) + self.codebook
        x = self.net(inputs.flatten(0, 1), self.turns, dropout).view(inputs.shape)
        return [output(x[:, :, q]) for q, output in enumerate(self.outputs)]

    def cached(self, batch: int) -> Callable[[int, Tensor], Tensor]:
        """The logits [batch, K] of codebook q, given q and its input [batch, width], as above; of 0, 1, ... in
        turn, position after position."""
        net = None if self.net is None else CachedTransformer(self.net, batch, len(self.sizes))
        turned = None if self.net is None else phases(self.turns)

        def logits(q: int, before: Tensor) -> Tensor:
            if net is not None and turned is not None and self.codebook is not None:
                before = net((before + self.codebook[q])[:, None], turned[:, q : q + 1], q)[:, -1]
            with torch.autocast(before.device.type, enabled=False):
                found: Tensor = self.outputs[q](before)
            return found

        return logits

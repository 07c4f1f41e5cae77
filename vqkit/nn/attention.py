"""Self-attention over one to three grid dimensions, and the transformer block built of it.

Positions turn queries and keys (rotary embedding, Su et al. 2021, https://arxiv.org/abs/2104.09864), each grid
dimension its own share of the head. The block is pre-norm with RMSNorm (https://arxiv.org/abs/1910.07467) and SwiGLU
(https://arxiv.org/abs/2002.05202). Shapes: B batch, T positions, H heads, D head dimensions, width = H x D.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.precision import at_least_float32


def overlay(grids: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Where the cells of each grid are when all are laid over the finest, in its cells: their centres, [cells, dims]
    float32 a grid."""
    finest = [max(extents) for extents in zip(*grids, strict=True)]
    found = []
    for grid in grids:
        axes = [(torch.arange(n) + 0.5) * (most / n) - 0.5 for n, most in zip(grid, finest, strict=True)]
        found.append(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2))
    return found


def rotations(coordinates: Tensor, head_dim: int) -> Tensor:
    """Coordinates [T, dims] of positions, in cells -> cosines and sines [2, T, D / 2] that turn pairs of dimensions.

    The pairs are dealt out to the grid dimensions in turn. In each, their frequencies fall geometrically from one
    radian a cell to one radian over the whole extent. Raises ValueError where a head has fewer pairs than dims.
    """
    pairs, dims = head_dim // 2, coordinates.shape[1]
    if head_dim % 2 or pairs < dims:
        raise ValueError(f"heads of {head_dim} dimensions cannot hold {dims} grid dimensions; use even, wider heads")
    angles = torch.empty(len(coordinates), pairs, dtype=torch.float64)
    for dim in range(dims):
        place = coordinates[:, dim].double()
        extent = float(place.max() - place.min()) + 1
        falls = torch.linspace(0, 1, len(range(dim, pairs, dims)), dtype=torch.float64)
        angles[:, dim::dims] = place[:, None] * extent**-falls
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turns x [..., D] by `turns` [2, ..., D / 2], in x's own precision."""
    cos, sin = turns.to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def of_queries_and_keys(turns: Tensor) -> Tensor:
    """The two forms of turns that attention takes as one, [2, B or 1, T, 2 or 1, 1, D / 2]: `rotations` [2, T, D / 2],
    or [2, B or 1, T, 2 or 1, D / 2] where queries and keys, in that order, or samples are turned differently."""
    return (turns if turns.ndim > 3 else turns[:, None, :, None]).unsqueeze(-2)


class Attention(nn.Module):
    """Multi-head self-attention, [B, T, width] to the same shape. Raises ValueError where heads do not divide width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}; make width a multiple of heads")
        self.width, self.heads = width, heads
        self.inputs = nn.Linear(width, 3 * width, bias=False)  # queries, keys and values in one product
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, turns: Tensor, causal: bool = True, mask: Tensor | None = None, last: int | None = None
    ) -> Tensor:
        """`turns` are the positions' `rotations` [2, T, D / 2], or [2, B or 1, T, 2 or 1, D / 2], of queries and of
        keys. `mask` [T, T] is True where a position may look, in place of `causal`. Where only the `last` positions are
        wanted, [B, last, width], they may look everywhere, whatever these two say."""
        turns = of_queries_and_keys(turns)
        if last is None:
            q, k, v = self._heads(self.inputs(x), 3)
        else:
            queries, others = self.inputs.weight.split([self.width, 2 * self.width])
            (q,), (k, v) = self._heads(F.linear(x[:, -last:], queries), 1), self._heads(F.linear(x, others), 2)
            causal, mask = False, None
        q, k = rotate(q, turns[:, :, -q.shape[1] :, 0]), rotate(k, turns[:, :, :, -1])
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal and mask is None)
        mixed: Tensor = self.output(y.transpose(1, 2).flatten(2).to(x.dtype))
        return mixed

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, T, parts x width] -> of each part [B, T, H, D]."""
        if projected.device.type == "cpu":  # its bfloat16 attention is slower than float32, backward three times
            projected = at_least_float32(projected)
        batch, length, _ = projected.shape
        return projected.view(batch, length, parts, self.heads, -1).unbind(2)


class FeedForward(nn.Module):
    """SwiGLU, [..., width] to the same shape; its hidden width of 8/3 makes it cost what four times a ReLU's would."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.hidden = -(-8 * width // 3 // 32) * 32
        self.inputs = nn.Linear(width, 2 * self.hidden, bias=False)
        self.output = nn.Linear(self.hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.inputs(x).chunk(2, -1)
        y: Tensor = self.output(F.silu(gate) * value)
        return y


class Block(nn.Module):
    """x + attention, then x + feed-forward, each of the normed x; [B, T, width] to the same shape.

    `depth` is how many blocks are stacked: what each adds starts smaller by sqrt(2 depth), so that the sum keeps its
    scale (Radford et al. 2019).
    """

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.width, self.heads, self.depth = width, heads, depth
        self.norm_attention, self.norm_feed_forward = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width)
        for part in (self.attention, self.feed_forward):
            nn.init.normal_(part.inputs.weight, std=width**-0.5)
            nn.init.normal_(part.output.weight, std=(2 * depth * part.output.in_features) ** -0.5)

    def forward(
        self,
        x: Tensor,
        turns: Tensor,
        causal: bool = True,
        dropout: float = 0.0,
        mask: Tensor | None = None,
        last: int | None = None,
    ) -> Tensor:
        """As `Attention`; `dropout` is the share of what is added that is dropped, by call and whatever the mode."""
        wanted = x if last is None else x[:, -last:]
        x = wanted + _drop(self.attention(self.norm_attention(x), turns, causal, mask, last), dropout)
        return x + _drop(self.feed_forward(self.norm_feed_forward(x)), dropout)


def _drop(x: Tensor, share: float) -> Tensor:
    return F.dropout(x, share) if share else x

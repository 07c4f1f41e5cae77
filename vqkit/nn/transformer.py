"""A stack of transformer blocks over positions in order, and its pass position by position.

The pass in order keeps the keys and values of the positions before (a cache) and computes each position once. It is the
same function in fewer, larger steps: the weights of a norm are multiplied into the matrix behind it, the scale of
attention into the queries', and the dimensions of queries and keys are paired so that turning them is one complex
product.
Shapes: B batch, T positions, H heads, D head dimensions, width = H x D.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.attention import Block, of_queries_and_keys
from vqkit.nn.packed import packed
from vqkit.nn.precision import at_least_float32


class Transformer(nn.Module):
    """`depth` blocks and a norm: x [B, T, width] to the same shape, each position from itself and those before it, or
    from those that `mask` says. `turns` and `mask` as of `Attention`; `dropout` as of `Block`."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width, self.depth, self.heads = width, depth, heads
        self.blocks = nn.ModuleList(Block(width, heads, depth) for _ in range(depth))
        self.norm = nn.RMSNorm(width)

    def forward(self, x: Tensor, turns: Tensor, dropout: float = 0.0, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, turns, dropout=dropout, mask=mask)
        normed: Tensor = self.norm(x)
        return normed


def phases(turns: Tensor) -> Tensor:
    """The `turns` of T positions as complex numbers for `CachedBlock`, [B or 1, T, 3, 1, D / 2]: of queries, keys, and
    values, which are not turned."""
    turned = torch.complex(*at_least_float32(of_queries_and_keys(turns)))
    return torch.cat([turned.expand(-1, -1, 2, -1, -1), torch.ones_like(turned[:, :, :1])], 2)


class CachedBlock:
    """`block` over positions in order: x [B, n, width], of those that follow the `past` ones seen before, to the same
    shape, without gradients. Each sees those before it, or all up to the last of the n unless `causal`. All memory, for
    `length` positions, is allocated here, once. Of bfloat16 are only the products with the block's matrices, which is
    where the time goes."""

    @torch.no_grad()
    def __init__(self, block: Block, batch: int, length: int) -> None:
        width, self.heads = block.width, block.heads
        half = width // block.heads // 2
        attention, feed_forward = block.attention, block.feed_forward
        queries, keys, values = at_least_float32(attention.inputs.weight).chunk(3)
        queries = queries * (2 * half) ** -0.5  # the scale of attention
        paired = [part.view(self.heads, 2, half, width).transpose(1, 2).flatten(0, 2) for part in (queries, keys)]
        own = attention.inputs.weight.dtype
        self.inputs = packed(_behind(block.norm_attention, torch.cat([*paired, values])).to(own), batch)
        self.mixing = packed(attention.output.weight, batch)
        self.expansion = packed(_behind(block.norm_feed_forward, feed_forward.inputs.weight).to(own), batch)
        self.contraction = packed(feed_forward.output.weight, batch)
        self.epsilon = values.new_tensor((width * torch.finfo(values.dtype).eps) ** 0.5)
        self.cache = values.new_empty(2, batch * self.heads, length, 2 * half)

    def __call__(self, x: Tensor, phases: Tensor, past: int, causal: bool = True) -> Tensor:
        batch, length, _ = x.shape
        rows = at_least_float32(x.reshape(batch * length, -1))
        projected = at_least_float32(self.inputs(self._normed(rows))).view(batch, length, 3, self.heads, -1, 2)
        turned = torch.view_as_real(torch.view_as_complex(projected) * phases).flatten(-2)
        new = turned.permute(2, 0, 3, 1, 4).reshape(3, batch * self.heads, length, -1)
        self.cache[:, :, past : past + length] = new[1:]
        k, v = self.cache[:, :, : past + length].unbind()
        y = self._attended(new[0], k, v, past, causal).view(batch, self.heads, length, -1)
        rows = rows + self.mixing(y.transpose(1, 2).reshape(rows.shape))
        gate, value = self.expansion(self._normed(rows)).chunk(2, -1)
        return (rows + self.contraction(F.silu(gate).mul_(value))).view(x.shape).to(x.dtype)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, past: int, causal: bool) -> Tensor:
        """Queries [B x H, n, D] over keys and values [B x H, past + n, D] -> [B x H, n, D]."""
        if len(q[0]) == 1:  # a third faster on a CPU than its fused attention
            return torch.bmm(torch.bmm(q, k.mT).softmax(-1), v)
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril(past) if causal else None
        return F.scaled_dot_product_attention(q[None], k[None], v[None], seen, scale=1.0)[0]

    def _normed(self, rows: Tensor) -> Tensor:
        """Of length 1: what else a norm does is in the matrix behind it."""
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        return rows / torch.hypot(length, self.epsilon)


class CachedTransformer:
    """`net` over positions in order: x [B, n, width] and `phases` of those that follow the `past` ones seen before to
    the same shape, without gradients; `causal` as of `CachedBlock`. Back at `past` 0 another sequence begins."""

    def __init__(self, net: Transformer, batch: int, length: int) -> None:
        self.blocks = [CachedBlock(block, batch, length) for block in net.blocks]  # type: ignore[arg-type]
        self.norm = net.norm

    @torch.inference_mode()
    def __call__(self, x: Tensor, phases: Tensor, past: int, causal: bool = True) -> Tensor:
        own, x = x.dtype, at_least_float32(x)  # what blocks add must not drown
        with torch.autocast(x.device.type, enabled=False):
            for block in self.blocks:
                x = block(x, phases, past, causal)
            normed: Tensor = self.norm(x.to(own))
        return normed


def _behind(norm: nn.Module, weight: Tensor) -> Tensor:
    """The matrix that takes rows of length 1, for `weight` [outputs, width] behind `norm`."""
    scale = at_least_float32(norm.get_parameter("weight"))
    matrix: Tensor = at_least_float32(weight) * (scale * weight.shape[1] ** 0.5)
    return matrix

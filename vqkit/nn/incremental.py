"""A causal net (`nn.causal`) taken position by position, each computed once from what is kept of those before it.

A stack is taken slab by slab: on two axes the vertical one a row at a time, when its row begins, the horizontal one a
position at a time. Of each layer's input a stack keeps the slabs that its convolution reaches back to. A layer is then
one matrix product over the windows gathered from them; what it is given besides, by the stack before and the condition,
is one batched product for all layers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.nn.causal import CausalNet


class Incremental:
    """Features [B, W] of one position after the other in raster order, float32 and without gradients: those of `net`
    over the whole grid. All memory is allocated here, once.

    `condition` [B, W, *grid or ones] is the one that `net` takes. Call it with the input [B, W] of the position before
    the one that is wanted (zeros before the first).
    """

    @torch.no_grad()
    def __init__(self, net: CausalNet, batch: int, grid: tuple[int, ...], condition: Tensor | None = None) -> None:
        self.net, self.grid, self.position = net, grid, 0
        self.stacks = [_Stack(net, axis, batch, grid) for axis in range(len(grid))]
        weight = net.get_parameter("layers.0.outputs.0.weight")
        # Before the first position stands one empty slab of the first stack, the largest.
        self.inputs = weight.new_zeros(batch, self.stacks[0].cells + math.prod(grid), net.width)
        self.condition = None
        if condition is not None:
            self.condition = condition.expand(batch, -1, *grid).movedim(1, -1)
        heads = (net.heads, math.prod(grid), net.width // net.heads) if net.attention_every else (0, 0, 0)
        self.attended = weight.new_empty(len(net.blocks), 2, batch, *heads)

    @torch.no_grad()
    def __call__(self, before: Tensor) -> Tensor:
        with torch.autocast(before.device.type, enabled=False):
            return self._advance(before)

    def _advance(self, before: Tensor) -> Tensor:
        end = self.stacks[0].cells + self.position  # of the inputs so far
        self.inputs[:, end - 1] = before
        x = before
        for axis, stack in enumerate(self.stacks):
            if self.position % stack.cells == 0:
                index = [self.position // s.cells % n for s, n in zip(self.stacks[: axis + 1], self.grid, strict=False)]
                if index[-1] == 0:
                    stack.past.zero_()
                x = self._slab(axis, index, self.inputs[:, end - stack.cells : end])
        self.position += 1
        return x[:, 0]

    def _slab(self, axis: int, index: list[int], x: Tensor) -> Tensor:
        """One slab of a stack, of that `index` along the axes up to its own: its input [B, cells, W] -> its output."""
        stack, last = self.stacks[axis], axis == len(self.stacks) - 1
        slab: tuple[slice | int, ...] = (slice(None), *index)
        given = stack.given(
            self.stacks[axis - 1].outputs.select(2, index[-1]) if axis else None,
            self.condition[slab] if self.condition is not None else None,
        )
        for number in range(self.net.depth):
            x = stack.layer(number, x, given[number])
            if last and (block := self.net.block_after(number)) is not None:
                here = slice(self.position, self.position + 1)
                turns, attended = self.net.turns[:, here], self.attended[block]
                x = self.net.blocks[block](x, turns, cache=attended, past=self.position)
        stack.keep(x)
        return x


class _Stack:
    """One stack: its weights as matrices, and of each layer's input the slabs still needed, with a margin of zeros."""

    def __init__(self, net: CausalNet, axis: int, batch: int, grid: tuple[int, ...]) -> None:
        later, reach, width = grid[axis + 1 :], net.kernel_size // 2, net.width
        self.cells = math.prod(later)  # positions a slab

        def of_layers(name: str) -> list[Tensor]:
            return [layer.get_parameter(f"{name}.weight").flatten(2) for layer in net.layers]

        kernels = [k.movedim((0, 1), (-1, -2)) for k in of_layers(f"convs.{axis}.kernel")]
        self.weights = [k.reshape(-1, 2 * width) for k in kernels]  # [window x W, 2W]
        self.bias = torch.stack([layer.get_parameter(f"convs.{axis}.kernel.bias") for layer in net.layers])[:, None]
        self.projections = [p[..., 0].t() for p in of_layers(f"outputs.{axis}")]
        sources = [f"links.{axis - 1}"] * (axis > 0) + [f"conditions.{axis}"] * net.conditional
        self.mixing = torch.cat([torch.stack(of_layers(s))[..., 0].mT for s in sources], 1) if sources else None

        # One more than there are layers: the last keeps what the last layer gives.
        margins = [n + 2 * reach for n in later]
        self.past = self.bias.new_zeros(net.depth + 1, batch, reach + 1, *margins, width)
        now = self.past[:, :, reach]
        windows = self.past.movedim(-1, 2)
        for dim, n in enumerate(later):
            now = now.narrow(2 + dim, reach, n)
            windows = windows.unfold(4 + dim, net.kernel_size, 1)
        self.now = list(now)  # [B, *later, W] of each layer
        self.outputs = now[1:]  # [L, B, *later, W]
        # [B, W, back, *later, *window] -> [B, *later, back, *window, W]
        order = [0, *range(3, 3 + len(later)), 2, *range(3 + len(later), 3 + 2 * len(later)), 1]
        self.windows = [w.permute(order) for w in windows]

    def given(self, earlier: Tensor | None, condition: Tensor | None) -> Tensor:
        """What each layer [L, B x cells, 2W] adds to its convolution, of the stack before, [L, B, *later, W], and of
        the condition, [B, *later, W]."""
        sources = [] if earlier is None else [earlier]
        if condition is not None:
            sources.append(condition.expand(len(self.bias), *condition.shape))
        if self.mixing is None:
            return self.bias
        rows = torch.cat(sources, -1)
        return torch.baddbmm(self.bias, rows.view(len(rows), -1, rows.shape[-1]), self.mixing)

    def layer(self, number: int, x: Tensor, given: Tensor) -> Tensor:
        """[B, cells, W] of this slab to the same of the next layer."""
        self.now[number].copy_(x.view_as(self.now[number]))
        weight = self.weights[number]
        y = torch.addmm(given, self.windows[number].reshape(-1, len(weight)), weight)
        y[:, : y.shape[1] // 2].tanh_()
        return torch.addmm(x.flatten(0, 1), F.glu(y), self.projections[number]).view_as(x)

    def keep(self, x: Tensor) -> None:
        """The output of the last layer; and every kept slab is one slab older."""
        self.now[-1].copy_(x.view_as(self.now[-1]))
        self.past[:, :, :-1] = self.past[:, :, 1:].clone()

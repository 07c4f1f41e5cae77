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
from vqkit.nn.transformer import CachedBlock, phases


class Incremental:
    """Features [B, W] of one position after the other in raster order, without gradients: those of `net`
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
            self.condition = condition.expand(batch, -1, *grid).flatten(2).transpose(1, 2)
        self.blocks = [CachedBlock(block, batch, math.prod(grid)) for block in net.blocks]  # type: ignore[arg-type]
        self.phases = phases(net.turns) if net.blocks else net.turns

    @torch.no_grad()
    def __call__(self, before: Tensor) -> Tensor:
        with torch.autocast(before.device.type, enabled=False):
            return self._advance(before)

    def _advance(self, before: Tensor) -> Tensor:
        end = self.stacks[0].cells + self.position  # of the inputs so far
        self.inputs[:, end - 1] = before
        for axis, stack in enumerate(self.stacks):
            if self.position % stack.cells == 0:
                features = self._slab(axis, self.inputs[:, end - stack.cells : end])
        self.position += 1
        return features[:, 0]

    def _slab(self, axis: int, x: Tensor) -> Tensor:
        """The slab of a stack that begins at this position: its input [B, cells, W] -> its output."""
        stack, here = self.stacks[axis], slice(self.position, self.position + self.stacks[axis].cells)
        index = self.position // stack.cells % self.grid[axis]
        if index == 0:
            stack.past.zero_()
        shape = (self.net.depth, len(x), stack.cells, -1)
        sources = [self.stacks[axis - 1].outputs.select(2, index).reshape(shape)] if axis else []
        if self.condition is not None:
            sources.append(self.condition[:, here].expand(shape))
        given = stack.given(sources)
        for number in range(self.net.depth):
            x = stack.layer(number, x, given[number])
            if stack is self.stacks[-1] and (block := self.net.block_after(number)) is not None:
                x = self.blocks[block](x, self.phases[:, here], self.position)
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
        windows = self.past
        for dim, n in enumerate(later):
            now = now.narrow(2 + dim, reach, n)
            windows = windows.unfold(3 + dim, net.kernel_size, 1)
        self.now = list(now)  # [B, *later, W] of each layer
        self.outputs = now[1:]  # [L, B, *later, W]
        axes = len(later)  # [..., B, back, *later, W, *window] -> [..., B, *later, back, *window, W]
        self.windows = list(windows.movedim(2, 2 + axes).movedim(3 + axes, -1))

    def given(self, sources: list[Tensor]) -> Tensor:
        """What each layer adds to its convolution, [L, B x cells, 2W], of the stack before and the condition, each
        [L, B, cells, W]."""
        if self.mixing is None:
            return self.bias
        return torch.baddbmm(self.bias, torch.cat(sources, -1).flatten(1, 2), self.mixing)

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

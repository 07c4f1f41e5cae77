"""The causal net of a gated PixelCNN, over one to three grid dimensions (van den Oord et al. 2016,
https://arxiv.org/abs/1606.05328), with the self-attention of PixelSNAIL (Chen et al. 2017,
https://arxiv.org/abs/1712.09763) between its layers.

Position q comes before p where, at the first axis on which they differ, q is smaller: raster order. To see all that
comes before and nothing else, without masks and without a blind spot, there is one stack of features an axis. Stack a
sees what differs from p first on an axis up to a: whole slabs before that of p. On two axes these are the vertical
stack, of rows above, and the horizontal one, which adds what is left in the row. Three rules make it so:

- it starts from the input one slab earlier;
- its convolutions reach back along axis a, both ways along the later ones and not at all along the earlier ones;
- what lies back along those it takes, at p itself, from stack a - 1.

Shapes: B batch, W width. A slab of stack a fixes the axes up to a: on two axes a row, then a position.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.attention import Block, rotations
from vqkit.nn.conv import CONV, conv


class CausalConv(nn.Module):
    """[B, inputs, *grid] to [B, outputs, *grid]. A position sees itself and `kernel_size` // 2 before it along `axis`,
    and a centred window `kernel_size` wide along each later axis."""

    def __init__(self, dims: int, axis: int, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.dims, self.axis, self.inputs, self.outputs, self.kernel_size = dims, axis, inputs, outputs, kernel_size
        reach, later = kernel_size // 2, dims - axis - 1
        self.kernel = CONV[dims](
            inputs,
            outputs,
            (1,) * axis + (reach + 1,) + (kernel_size,) * later,
            padding=(0,) * (axis + 1) + (reach,) * later,
        )
        self.margin = (0, 0) * later + (reach, 0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.kernel(F.pad(x, self.margin))
        return y


class GatedLayer(nn.Module):
    """x + 1x1(tanh(a) sigmoid(b)) in each stack, where a and b are what its convolution, the stack before and the
    condition give. Streams [B, W, *grid], one a stack, to the same; condition [B, W, *grid or ones]."""

    def __init__(self, dims: int, width: int, kernel_size: int, conditional: bool) -> None:
        super().__init__()
        self.dims, self.width, self.kernel_size, self.conditional = dims, width, kernel_size, conditional
        self.convs = nn.ModuleList(CausalConv(dims, axis, width, 2 * width, kernel_size) for axis in range(dims))
        self.links = nn.ModuleList(conv(dims, width, 2 * width, 1, bias=False) for _ in range(dims - 1))
        self.conditions = nn.ModuleList(
            conv(dims, width, 2 * width, 1, bias=False) for _ in range(dims if conditional else 0)
        )
        self.outputs = nn.ModuleList(conv(dims, width, width, 1, bias=False) for _ in range(dims))

    def forward(self, streams: Sequence[Tensor], condition: Tensor | None, dropout: float = 0.0) -> list[Tensor]:
        found: list[Tensor] = []
        for axis, x in enumerate(streams):
            y = self.convs[axis](x)
            if axis:
                y = y + self.links[axis - 1](found[-1])
            if condition is not None:
                y = y + self.conditions[axis](condition)
            a, b = y.chunk(2, 1)
            gated = a.tanh() * b.sigmoid()
            found.append(x + self.outputs[axis](F.dropout(gated, dropout) if dropout else gated))
        return found


class CausalNet(nn.Module):
    """What stands at each position, [B, W, *grid], to features of what stands before it, [B, W, *grid].

    Args:
        grid: of the positions; without attention, any other grid of as many axes will do as well.
        width: channels of every stack, W.
        depth: how many gated layers.
        kernel_size: of their convolutions, odd.
        conditional: whether `forward` is given a condition.
        attention_every: after this many layers each, a transformer block over all positions up to p, on the features
            of the last stack, which have not seen p yet. 0: none.
        heads: of that attention.

    Raises ValueError where an argument is out of its range.
    """

    turns: Tensor

    def __init__(
        self,
        grid: tuple[int, ...],
        width: int,
        depth: int,
        kernel_size: int = 3,
        conditional: bool = False,
        attention_every: int = 0,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if attention_every > depth:
            raise ValueError(f"attention_every is {attention_every} for {depth} layers; give at most {depth}, or 0")
        for name, value, least in (("width", width, 1), ("depth", depth, 1), ("attention_every", attention_every, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; give an odd number of positions, 3 or more")
        self.grid, self.width, self.depth, self.kernel_size = grid, width, depth, kernel_size
        self.conditional, self.attention_every, self.heads = conditional, attention_every, heads
        self.layers = nn.ModuleList(GatedLayer(len(grid), width, kernel_size, conditional) for _ in range(depth))
        count = depth // attention_every if attention_every else 0
        self.blocks = nn.ModuleList(Block(width, heads, count) for _ in range(count))
        cells = torch.ones(grid).nonzero()
        turns = rotations(cells, width // heads) if count else torch.empty(0)
        self.register_buffer("turns", turns, persistent=False)

    def block_after(self, layer: int) -> int | None:
        """Which attention block follows this layer."""
        every = self.attention_every
        return layer // every if every and layer % every == every - 1 else None

    def forward(self, inputs: Tensor, condition: Tensor | None = None, dropout: float = 0.0) -> Tensor:
        streams = [one_slab_earlier(inputs, axis) for axis in range(len(self.grid))]
        for number, layer in enumerate(self.layers):
            streams = layer(streams, condition, dropout)
            if (block := self.block_after(number)) is not None:
                x = streams[-1].flatten(2).transpose(1, 2)
                x = self.blocks[block](x, self.turns, dropout=dropout)
                streams[-1] = x.transpose(1, 2).unflatten(2, inputs.shape[2:])
        return streams[-1]


def one_slab_earlier(x: Tensor, axis: int) -> Tensor:
    """x [B, C, *grid] moved on by one slab of a stack, in raster order: zeros at the first, the last drops out."""
    slabs = x.movedim(1, -1)  # contiguous where x is channels-last, and then the result is channels-last too
    flat = slabs.flatten(1, 1 + axis)
    return torch.cat([torch.zeros_like(flat[:, :1]), flat[:, :-1]], 1).view(slabs.shape).movedim(-1, 1)

"""A WaveNet over one level of tokens, or over samples of sound."""

from __future__ import annotations

from torch import Tensor

from vqkit.nn.dilated import DilatedNet
from vqkit.nn.queues import Queues
from vqkit.priors.inputs import one_level
from vqkit.priors.raster import RasterPrior
from vqkit.signal import Layout


class WaveNet(RasterPrior):
    """Each symbol given those before it in one long sequence, by dilated causal convolutions with gated units, residual
    and skip connections (van den Oord et al. 2016, https://arxiv.org/abs/1609.03499). Dilations double from layer to
    layer and start again after `cycle` of them, so that about depth / cycle x 2^cycle positions are seen.

    A grid of several dimensions is one sequence, row after row, and may be any of as many dimensions. A step of `walk`
    costs the same however long the sequence (`nn.queues`).

    Args:
        layout: of one level; `classes` above 0 makes it conditional on the `label` of `side`.
        width: channels of every layer.
        depth: how many gated layers.
        cycle: after this many layers the dilations, 1, 2, 4, ..., start again at 1.
        context_channels: C of the `context` [B, C, *any grid] that it is conditional on; 0: none.
        dropout: share of what each layer adds that is dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    net: DilatedNet

    def __init__(
        self,
        layout: Layout,
        width: int = 64,
        depth: int = 20,
        cycle: int = 10,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        for name, value in (("depth", depth), ("cycle", cycle)):
            if value < 1:
                raise ValueError(f"{name} is {value}; give a number of layers, 1 or more")
        dilations = [2 ** (number % cycle) for number in range(depth)]
        net = DilatedNet(width, dilations, conditional=bool(one_level(layout).classes or context_channels))
        super().__init__(layout, net, width, context_channels, dropout, label_dropout)
        self.depth, self.cycle = depth, cycle

    @property
    def receptive_field(self) -> int:
        """How many positions a symbol is given, all of them directly before its own: 1 + the sum of the dilations."""
        return self.net.receptive_field

    def incremental(self, batch: int, grid: tuple[int, ...], condition: Tensor | None) -> Queues:
        return Queues(self.net, batch, condition)

"""A gated PixelCNN over one level of tokens, or over pixels."""

from __future__ import annotations

from torch import Tensor

from vqkit.nn.causal import CausalNet
from vqkit.nn.incremental import Incremental
from vqkit.priors.inputs import one_level
from vqkit.priors.raster import RasterPrior
from vqkit.signal import Layout


class PixelCNN(RasterPrior):
    """Each symbol given all before it, by gated convolutions in a stack an axis, so that all that comes before is seen
    up to a distance of some 1 + depth x (kernel_size - 1) / 2 positions (van den Oord et al. 2016,
    https://arxiv.org/abs/1606.05328; `nn.causal` says how). With attention between them it is a PixelSNAIL, which sees
    all of it (Chen et al. 2017, https://arxiv.org/abs/1712.09763). Without attention the grid may be any of as many
    dimensions.

    Args:
        layout: of one level; `classes` above 0 makes it conditional on the `label` of `side`.
        width: channels of every stack.
        depth: how many gated layers.
        kernel_size: of their convolutions, odd.
        attention_every: after this many layers each, a transformer block over the positions before; 0: none.
        heads: of that attention, each width / heads dimensions.
        in_turn: whether the codebooks of a position are predicted one after the other, each given those before it.
            Else all at once, as if independent given the positions before: less likely, and a step of the walk is a
            position, however many codebooks it has.
        context_channels: C of the `context` [B, C, *any grid] that it is conditional on; 0: none.
        dropout: share of what each layer adds that is dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    net: CausalNet

    def __init__(
        self,
        layout: Layout,
        width: int = 64,
        depth: int = 10,
        kernel_size: int = 3,
        attention_every: int = 0,
        heads: int = 4,
        in_turn: bool = True,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        (grid,) = one_level(layout).grids
        conditional = bool(layout.classes or context_channels)
        net = CausalNet(grid, width, depth, kernel_size, conditional, attention_every, heads)
        super().__init__(layout, net, width, context_channels, dropout, label_dropout, attention_every == 0, in_turn)
        self.depth, self.kernel_size, self.attention_every, self.heads = depth, kernel_size, attention_every, heads

    def incremental(self, batch: int, grid: tuple[int, ...], condition: Tensor | None) -> Incremental:
        return Incremental(self.net, batch, grid, condition)

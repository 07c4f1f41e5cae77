"""What the prior of one level is told of the coarser ones."""

from __future__ import annotations

from torch import Tensor, nn

from vqkit.nn.conv import ResidualStack, conv
from vqkit.nn.pyramid import nearest
from vqkit.priors.context import Context
from vqkit.priors.embedding import SymbolEmbedding
from vqkit.signal import Indices, Layout


class LevelContext(nn.Module):
    """Indices of the coarser levels, and an outer context -> [B, outputs, *grid] for the prior of the next level.

    The symbols of each coarser level are embedded and repeated up to the level's grid; their sum, and what the outer
    context says there, pass a residual convolutional net. With nothing to tell there is no net, and `forward` gives
    None.

    Args:
        coarser: the levels above; none for the coarsest.
        dims: grid dimensions.
        channels: of the outer context, 0 where there is none.
        outputs: channels that the level's prior takes.
        width: channels of the net.
        residual_layers: of the net.

    Raises ValueError where an outer context is given and not expected, or the other way round.
    """

    def __init__(
        self, coarser: Layout, dims: int, channels: int, outputs: int, width: int, residual_layers: int
    ) -> None:
        super().__init__()
        self.coarser, self.dims, self.channels, self.outputs = coarser, dims, channels, outputs
        self.width, self.residual_layers = width, residual_layers
        self.embeddings = nn.ModuleList(SymbolEmbedding(sizes, width) for sizes in coarser.codebook_sizes)
        self.outer = Context(dims, channels, width)
        self.net = None
        if channels or coarser.grids:
            self.net = nn.Sequential(ResidualStack(width, width, residual_layers, dims), conv(dims, width, outputs, 1))

    def forward(self, indices: Indices, context: Tensor | None, batch: int, grid: tuple[int, ...]) -> Tensor | None:
        told = [nearest(embed(level), grid) for embed, level in zip(self.embeddings, indices, strict=True)]
        if (said := self.outer(context, batch, grid)) is not None:
            told.append(said)
        return None if self.net is None else self.net(sum(told))

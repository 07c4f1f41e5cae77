"""What a decoder or coarser levels hand down to a prior, brought to its positions."""

from __future__ import annotations

from torch import Tensor, nn

from vqkit.nn.conv import conv
from vqkit.nn.pyramid import resize


class Context(nn.Module):
    """A context [B, channels, *any grid] -> what it says of every position, [B, width, *grid], brought there by means
    over areas or by linear interpolation. Of 0 channels there is none, and it must be None.

    Raises ValueError where `channels` is below 0, and where a context is given that is not of this shape.
    """

    def __init__(self, dims: int, channels: int, width: int) -> None:
        super().__init__()
        if channels < 0:
            raise ValueError(f"context_channels is {channels}; give 0 for no context, or how many it has")
        self.dims, self.channels = dims, channels
        self.projection = conv(dims, channels, width, 1) if channels else None

    def forward(self, context: Tensor | None, batch: int, grid: tuple[int, ...]) -> Tensor | None:
        if self.projection is None:
            if context is not None:
                raise ValueError("this prior takes no context; leave it out, or make one that has context_channels")
            return None
        shape = None if context is None else list(context.shape)
        if context is None or context.ndim != 2 + self.dims or context.shape[:2] != (batch, self.channels):
            wanted = f"[{batch}, {self.channels}] and {self.dims} grid dimensions"
            raise ValueError(f"the context is {shape}; give this prior one of {wanted}")
        brought: Tensor = self.projection(resize(context.to(self.projection.get_parameter("weight").dtype), grid))
        return brought


def condition(
    embedding: nn.Embedding | None, outer: Context, classes: Tensor, context: Tensor | None, grid: tuple[int, ...]
) -> Tensor | None:
    """What classes [B] and a context say of every position, [B, W, *grid or ones]; None where there are neither."""
    parts = []
    if embedding is not None:
        parts.append(embedding(classes).view(len(classes), -1, *(1,) * len(grid)))
    if (said := outer(context, len(classes), grid)) is not None:
        parts.append(said)
    return sum(parts) if parts else None

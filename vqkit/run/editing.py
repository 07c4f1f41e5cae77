"""What is kept of a picture and what is drawn anew: inpainting, outpainting, editing by class."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F

from vqkit.autoencoders import Autoencoder
from vqkit.modality import Image, Modality
from vqkit.signal import Indices

_WHITE = 128  # from here on a pixel of a mask keeps


def kept_tokens(
    tokenizer: Autoencoder, modality: Modality, keep: str | os.PathLike[str], mask: str | os.PathLike[str]
) -> Indices:
    """The tokens [1, Q, *grid] of the picture file `keep`, -1 for those that its mask leaves to a prior.

    `mask` is a picture of any size, white where the other one is to be kept, black where not; it is fitted to the size
    of the run's pictures as these are. A token is kept where all of its cell is.

    Raises ValueError where a file cannot be read or is of another size, the run's data are no pictures or it has no
    tokens, and where the mask keeps every token or none.
    """
    if not isinstance(modality, Image):
        raise ValueError("only pictures can be edited; leave keep and mask out for this run's data")
    _ = tokenizer.quantizers  # refuses what has no tokens before any file is read
    signal = tokenizer.signal
    x = torch.from_numpy(modality.decode(Path(keep)).copy()).movedim(-1, 0)
    if x.shape != (signal.channels, *signal.grid):
        raise ValueError(
            f"{keep} is {[*x.shape[1:], x.shape[0]]}, this run takes {[*signal.grid, signal.channels]}; resize it"
        )
    height, width = signal.grid
    white = Image((height, width), 1, modality.resize).decode(Path(mask)) >= _WHITE
    lost = torch.from_numpy(~white).movedim(-1, 0).float()
    indices = []
    for level in tokenizer.encode(x[None]):
        gone = F.adaptive_max_pool2d(lost, level.shape[2:]) > 0  # cells that do not divide the picture overlap
        indices.append(level.cpu().masked_fill(gone[None], -1))
    if all(bool((level >= 0).all()) for level in indices):
        raise ValueError(f"{mask} keeps all of the picture; paint black what is to be drawn anew")
    if all(bool((level < 0).all()) for level in indices):
        raise ValueError(
            f"{mask} keeps no whole cell of the picture; paint more of it white, or leave keep and mask out"
        )
    return tuple(indices)

"""What is kept of a picture and what is drawn anew: inpainting, outpainting, editing by class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from vqkit.autoencoders import Autoencoder
from vqkit.modality import Image, Modality
from vqkit.signal import Indices

_WHITE = 128  # from here on a pixel of a mask keeps


class Kept(NamedTuple):
    """What is kept of a `picture` file: what is white in `mask`, a picture file of any size, and not what is black. The
    mask is fitted to the size of the run's pictures as these are. A token is kept where all of its cell is."""

    picture: str | os.PathLike[str]
    mask: str | os.PathLike[str]


def kept_tokens(tokenizer: Autoencoder, modality: Modality, kept: Kept) -> Indices:
    """The tokens [1, Q, *grid] of the picture, -1 for those that its mask leaves to a prior.

    Raises ValueError where a file cannot be read or is of another size, the run's data are no pictures or it has no
    tokens, and where the mask keeps every token or none.
    """
    if not isinstance(modality, Image):
        raise ValueError("only pictures can be edited; draw from this run without anything kept")
    _ = tokenizer.quantizers  # refuses what has no tokens before any file is read
    signal = tokenizer.signal
    x = torch.from_numpy(modality.decode(Path(kept.picture)).copy()).movedim(-1, 0)
    if x.shape != (signal.channels, *signal.grid):
        raise ValueError(
            f"{kept.picture} is {[*x.shape[1:], x.shape[0]]}, this run takes {[*signal.grid, signal.channels]}; "
            "resize it"
        )
    height, width = signal.grid
    white = Image((height, width), 1, modality.resize).decode(Path(kept.mask)) >= _WHITE
    lost = torch.from_numpy(~white).movedim(-1, 0).float()
    indices = []
    for level in tokenizer.encode(x[None]):
        gone = F.adaptive_max_pool2d(lost, level.shape[2:]) > 0  # cells that do not divide the picture overlap
        indices.append(level.cpu().masked_fill(gone[None], -1))
    if all(bool((level >= 0).all()) for level in indices):
        raise ValueError(f"{kept.mask} keeps all of the picture; paint black what is to be drawn anew")
    if all(bool((level < 0).all()) for level in indices):
        raise ValueError(
            f"{kept.mask} keeps no whole cell of the picture; paint more of it white, or draw without anything kept"
        )
    return tuple(indices)

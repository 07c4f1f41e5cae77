"""Tensors -> PNG data URIs: pictures as they are, and index maps in colour."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from PIL import Image
from torch import Tensor

# Low-discrepancy steps: powers of the inverse of the root of x^4 = x + 1 (Roberts 2018, the R3 sequence). Any run of
# codes is spread evenly over hue, saturation and value, so that neighbouring codes are far apart in colour.
_STEPS = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])
_SHORT_SIDE = 160
"""Smaller pictures are magnified to about this many pixels; browsers would blur them."""


def picture(x: Tensor) -> str:
    """uint8 [C, H, W] -> a PNG as a data URI. One or two channels show the first in grey, more show three as RGB."""
    pixels = x[:1].expand(3, -1, -1) if x.shape[0] < 3 else x[:3]
    return _png(pixels.permute(1, 2, 0).cpu().numpy())


def index_map(indices: Tensor) -> str:
    """int64 [H, W] -> a PNG as a data URI in which every code has its own colour, the same in every picture."""
    return _png(code_colours(indices.cpu()).numpy())


def code_colours(indices: Tensor) -> Tensor:
    """Codes, int64 of any shape -> uint8 [..., 3] RGB, a function of the code alone."""
    hue, saturation, value = np.moveaxis((indices.numpy()[..., None] + 1) * _STEPS % 1.0, -1, 0)
    hsv = np.stack([hue, 0.35 + 0.6 * saturation, 0.5 + 0.5 * value], axis=-1)
    return torch.from_numpy((hsv_to_rgb(hsv) * 255).round().astype(np.uint8))


def _png(pixels: np.ndarray) -> str:
    factor = max(1, math.ceil(_SHORT_SIDE / min(pixels.shape[:2])))
    image = Image.fromarray(np.ascontiguousarray(pixels.repeat(factor, 0).repeat(factor, 1)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

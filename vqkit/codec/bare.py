"""A payload alone, with nothing around it: what it costs to send a sample to one who knows the model, the shape and
whatever else a header says. It has no check; other means have to carry it unharmed."""

from __future__ import annotations

import numpy as np
import torch

from vqkit.codec.codec import Codec, Coded
from vqkit.codec.raw import pack, raw_length, unpack
from vqkit.codec.tables import FIRST_DITHER
from vqkit.signal import Indices, Layout, Side


def to_bare(codec: Codec, indices: Indices, coded: Coded, side: Side) -> bytes:
    """`raw_length` bytes of the coded symbols or, where coding makes it fewer, those; arguments and errors as of
    `Codec.encode`."""
    chunk = codec.encode(indices, coded, side)
    sizes = _sizes(codec.layout, coded)
    if chunk.dither == FIRST_DITHER and len(chunk.payload) < raw_length(sizes):
        return chunk.payload
    symbols = torch.cat([level.cpu()[mask] for level, mask in zip(indices, coded, strict=False)])
    return pack(symbols.numpy(), sizes)


def from_bare(codec: Codec, payload: bytes, coded: Coded, side: Side) -> Indices:
    """The indices [B, Q, *grid] of `to_bare`; where they are not coded, 0 if the payload is raw.

    Raises ValueError where no such indices have a payload of this length; damage goes unnoticed.
    """
    sizes = _sizes(codec.layout, coded)
    most = raw_length(sizes)
    if len(payload) > most:
        raise ValueError(
            f"it has {len(payload)} bytes, and {most} are the most that it can have; give the model, quality and "
            "lossless that it was made with, and a .vqz file as one that is not bare"
        )
    if len(payload) < most:
        return codec.read(payload, FIRST_DITHER, coded, side)[0]
    counts = [int(mask.sum()) for mask in coded]
    parts = np.split(unpack(payload, sizes), np.cumsum(counts)[:-1])
    return tuple(
        torch.zeros(mask.shape, dtype=torch.int64).masked_scatter(mask, torch.from_numpy(part))
        for mask, part in zip(coded, parts, strict=True)
    )


def _sizes(layout: Layout, coded: Coded) -> list[int]:
    """The alphabet of each coded symbol: coarse to fine, of each level the items, their codebooks, the positions."""
    sizes: list[int] = []
    for mask, alphabets in zip(coded, layout.codebook_sizes, strict=False):
        per_symbol = torch.tensor(alphabets).view(1, -1, *(1,) * (mask.ndim - 2)).expand(mask.shape)
        sizes += per_symbol[mask].tolist()
    return sizes

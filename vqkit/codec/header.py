"""What a `.vqz` file says of all its chunks."""

from __future__ import annotations

import io
import math
import re
import zlib
from typing import NamedTuple

from vqkit.codec.fields import Damaged, Source, varint

MAGIC = b"\x89VQZ"
VERSION = 1
MODALITIES = ("image", "audio", "series", "video")
"""A file holds the place in this list: names are only ever added, at its end."""

MOST_CHUNKS = 1 << 20
_MOST_VALUES = 1 << 28


class Header(NamedTuple):
    """What a file holds and what decodes it. A sample is one item, or several where it is coded in windows; items come
    sample by sample.

    Args:
        modality: one of `MODALITIES`.
        channels: C of the data.
        grid: the true grid of every sample, one to three sides; the windows of a large sample may cover more.
        samples: how many there are.
        tokenizer: the fingerprint of the tokenizer, 16 hex digits.
        prior: the fingerprint of the prior.
        kept: how many codebooks of each level are in the file, coarsest level first. Levels beyond the list and
            codebooks beyond its numbers are left out: this is how one model has several rates.
        labels: one for each sample, None where the prior was told none.
        windows: how many items a sample is.
        items_per_chunk: how many items a chunk holds; the last one holds what is left.
    """

    modality: str
    channels: int
    grid: tuple[int, ...]
    samples: int
    tokenizer: str
    prior: str
    kept: tuple[int, ...]
    labels: tuple[int, ...] | None = None
    windows: int = 1
    items_per_chunk: int = 1

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.samples * self.windows // self.items_per_chunk)


def header_bytes(header: Header) -> bytes:
    """What `read_header` reads. Raises ValueError where a number is out of its range."""
    if header.modality not in MODALITIES:
        raise ValueError(f"modality is {header.modality!r}; make it one of {', '.join(MODALITIES)}")
    if header.labels is not None and len(header.labels) != header.samples:
        raise ValueError(f"there are {len(header.labels)} labels for {header.samples} samples; give each sample one")
    for fingerprint in (header.tokenizer, header.prior):
        if not re.fullmatch("[0-9a-f]{16}", fingerprint):
            raise ValueError(f"a fingerprint is {fingerprint!r}; give the 16 hex digits of checkpoint.fingerprint")
    numbers = (header.channels, len(header.grid), *header.grid, header.samples, header.windows, header.items_per_chunk)
    labels = (0,) if header.labels is None else (1, *header.labels)
    body = MAGIC + bytes([VERSION, MODALITIES.index(header.modality)])
    body += b"".join(map(varint, numbers))
    body += bytes.fromhex(header.tokenizer) + bytes.fromhex(header.prior)
    body += b"".join(map(varint, (len(header.kept), *header.kept, *labels)))
    body += zlib.crc32(body).to_bytes(4, "little")
    source = Source(io.BytesIO(body))
    source.exactly(len(MAGIC) + 1)
    _fields(source)  # has the bounds
    return body


def read_header(source: Source) -> Header:
    """The header at the start of a source, whose `crc` is the header's then.

    Raises ValueError where it is of another kind of file or a newer version, truncated or damaged.
    """
    try:
        magic = source.exactly(len(MAGIC))
    except Damaged:
        magic = b""
    if magic != MAGIC:
        raise ValueError("this is no .vqz file; name one that vqkit compress wrote")
    try:
        version = source.exactly(1)[0]
        if version == VERSION:
            return _fields(source)
    except Damaged as error:
        raise ValueError(f"the header of this .vqz file is damaged ({error}); restore it from a copy") from None
    raise ValueError(f"this .vqz file is of version {version}, here is {VERSION}; install the vqkit that wrote it")


def _fields(source: Source) -> Header:
    modality = MODALITIES[source.number("the modality", 0, len(MODALITIES) - 1)]
    channels = source.number("the number of channels", 1, 1 << 16)
    dims = source.number("the number of sides of the grid", 1, 3)
    grid = tuple(source.number("a side of the grid", 1, (1 << 31) - 1) for _ in range(dims))
    samples = source.number("the number of samples", 1, 1 << 20)
    windows = source.number("the number of windows", 1, 1 << 20)
    items_per_chunk = source.number("the number of items a chunk", 1, 1 << 40)
    tokenizer, prior = source.exactly(8).hex(), source.exactly(8).hex()
    levels = source.number("the number of levels", 1, 255)
    kept = tuple(source.number("the number of codebooks", 1, 1 << 16) for _ in range(levels))
    labels = None
    if source.number("whether there are labels", 0, 1):
        labels = tuple(source.number("a label", 0, (1 << 31) - 1) for _ in range(samples))
    source.checksum()
    header = Header(modality, channels, grid, samples, tokenizer, prior, kept, labels, windows, items_per_chunk)
    if header.chunks > MOST_CHUNKS or channels * math.prod(grid) > _MOST_VALUES:
        raise Damaged(f"{header.chunks} chunks, or {channels} channels of {grid}, are too many")
    return header

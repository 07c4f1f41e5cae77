"""The indices of many samples <-> the chunks of a file: samples are cut into windows, and these are grouped into chunks
whatever sample they are of."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.codec.codec import Codec, Coded
from vqkit.codec.container import Chunk, Damage
from vqkit.codec.header import Header
from vqkit.codec.windows import Windows
from vqkit.signal import Indices, Layout, Side

MOST_ITEMS = 64
_MOST_LOGITS = 1 << 22
_MOST_TOKENS = 1 << 25
_INTEGERS = torch.uint8, torch.int16, torch.int32, torch.int64


class Samples(NamedTuple):
    """Some of a file's samples: the indices [B, Q kept, *grid], of an integer type no wider than they need, what is
    known beside them, and which of their windows could be read [B, windows]. Where a sample has lost some, the
    likeliest symbols stand there, where all, zeros."""

    indices: Indices
    side: Side
    read: Tensor


def items_per_chunk(layout: Layout) -> int:
    """As many items as both ends can walk together in moderate memory, at most `MOST_ITEMS`: a reader takes no more."""
    logits = sum(math.prod(grid) * sum(sizes) for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True))
    return max(1, min(MOST_ITEMS, _MOST_LOGITS // logits))


def encode_samples(codec: Codec, windows: Windows, header: Header, samples: Iterable[Indices]) -> Iterator[Chunk]:
    """The chunks of a file with this header. `samples` come in groups of any size, whole levels [B, Q, *grid] on the
    grids of `windows`. Raises ValueError like `Codec.encode`."""
    start = 0
    for items in _regroup((windows.cut(indices) for indices in samples), header.items_per_chunk):
        coded, side = _told(windows, header, torch.arange(start, start + len(items[0])))
        yield codec.encode(items[: len(coded)], coded, side)
        start += len(items[0])


def decode_samples(
    codec: Codec,
    windows: Windows,
    header: Header,
    chunks: Iterable[Chunk | Damage],
    on_damage: Callable[[Damage], object],
) -> Iterator[Samples]:
    """The samples of a file, in order, some at a time, as their chunks arrive: what `container.read` gives. Of what is
    lost `on_damage` is told, also where a chunk was read but decodes to other indices than were encoded."""
    start, n = 0, windows.number
    together = n * max(1, header.items_per_chunk // n)
    likeliest: dict[tuple[object, ...], Indices] = {}  # a walk each, however many windows are lost
    for *items, read in _regroup(_decoded(codec, windows, header, chunks, on_damage), together):
        partly = read.view(-1, n).any(1).repeat_interleave(n) & ~read
        for row in partly.nonzero()[:, 0].tolist():
            coded, side = _told(windows, header, torch.tensor([start + row]))
            known = (*map(int, side.get("label", ())), *(level.numpy().tobytes() for level in coded))
            if known not in likeliest:
                likeliest[known] = codec.likeliest(coded, side)
            for level, symbols in zip(items, likeliest[known], strict=False):
                level[row] = symbols[0]
        samples = torch.arange(start // n, (start + len(read)) // n)
        yield Samples(windows.join(tuple(items)), _side(header, samples), read.view(-1, n))
        start += len(read)


def check_header(header: Header, windows: Windows) -> None:
    """Raises ValueError where the numbers of a header do not fit its model, before anything is allocated for them."""
    if header.windows != windows.number:
        raise ValueError(f"it has {header.windows} windows a sample, of which the model makes {windows.number}")
    if header.items_per_chunk > (most := items_per_chunk(windows.layout)):
        raise ValueError(f"it has {header.items_per_chunk} windows a chunk, of which the model takes {most} at most")
    if (symbols := header.windows * sum(windows.layout.tokens)) > _MOST_TOKENS:
        raise ValueError(
            f"its samples of {header.grid} are too large, {symbols} symbols each of {_MOST_TOKENS} at most; make them "
            "smaller, or cut them up"
        )


def _decoded(
    codec: Codec,
    windows: Windows,
    header: Header,
    chunks: Iterable[Chunk | Damage],
    on_damage: Callable[[Damage], object],
) -> Iterator[tuple[Tensor, ...]]:
    """The indices of each chunk's items, and whether they could be read [n]."""
    size, items = header.items_per_chunk, header.samples * header.windows
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, Damage):
            on_damage(chunk)
            if chunk.number == header.chunks:  # it is of the end, behind all chunks
                return
        coded, side = _told(windows, header, torch.arange(number * size, min((number + 1) * size, items)))
        indices: Indices = tuple(torch.zeros(level.shape, dtype=torch.int64) for level in coded)
        read = isinstance(chunk, Chunk)
        if isinstance(chunk, Chunk):
            try:
                indices = codec.decode(chunk, coded, side)
            except ValueError as error:
                read = False
                on_damage(Damage(number, f"chunk {number} of {header.chunks} is lost: {error}"))
        yield *_narrow(indices, windows.layout), torch.full((len(coded[0]),), read)


def _narrow(indices: Indices, layout: Layout) -> Indices:
    """In the narrowest integers: a large photograph has some 30 million of them."""
    most = [max(sizes) - 1 for sizes in layout.codebook_sizes]
    types = [next(t for t in _INTEGERS if torch.iinfo(t).max >= largest) for largest in most]
    return tuple(level.to(t) for level, t in zip(indices, types, strict=False))


def _told(windows: Windows, header: Header, items: Tensor) -> tuple[Coded, Side]:
    """What both ends know of these items, by their numbers."""
    coded = tuple(level[items % windows.number] for level in windows.coded)
    return coded, _side(header, items // windows.number)


def _side(header: Header, samples: Tensor) -> Side:
    return {} if header.labels is None else {"label": torch.tensor([header.labels[i] for i in samples.tolist()])}


def _regroup(groups: Iterable[tuple[Tensor, ...]], size: int) -> Iterator[tuple[Tensor, ...]]:
    """Tensors with as many rows each, `size` rows at a time; at last those that are left."""
    waiting: deque[tuple[Tensor, ...]] = deque()
    count = 0
    for group in groups:
        waiting.append(group)
        count += len(group[0])
        while count >= size:
            yield _take(waiting, size)
            count -= size
    if count:
        yield _take(waiting, count)


def _take(waiting: deque[tuple[Tensor, ...]], count: int) -> tuple[Tensor, ...]:
    taken = []
    while count:
        group = waiting.popleft()
        taken.append(tuple(rows[:count] for rows in group))
        if len(group[0]) > count:
            waiting.appendleft(tuple(rows[count:] for rows in group))
        count -= len(taken[-1][0])
    return tuple(map(torch.cat, zip(*taken, strict=True)))

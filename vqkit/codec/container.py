"""The `.vqz` file: a header, chunks that fail alone, an end that says the file is whole.

docs/file_format.md says the same for another implementation. The header's CRC-32 and a chunk's number go into the
chunk's CRC-32, so that a chunk of another file or another place is not taken for this one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.codec.fields import Damaged, Source, varint
from vqkit.codec.header import Header, header_bytes, read_header

MOST_PAYLOAD = (1 << 24) - 1
"""Bytes of a payload; a chunk is read whole, so this bounds the memory that a file can ask for."""

_AROUND_PAYLOAD = 1 + 2 + 4
_CHUNKS_PER_BYTE = 8  # where it is a ninth at the most: a reader's work is bounded by what there is to read
_END = 4 + 4


class Chunk(NamedTuple):
    """Items that are decoded without any other chunk.

    Args:
        dither: the offset at which the logits were rounded, 0 to 255; see `tables`.
        check: `check_of` the indices that the payload holds.
        payload: what the entropy coder made of them.
    """

    dither: int
    check: int
    payload: bytes


class Damage(NamedTuple):
    """What stands in place of chunk `number`, which cannot be read; `reason` is a sentence."""

    number: int
    reason: str


def check_of(indices: NDArray[np.int64]) -> int:
    """16 bits of the CRC-32 of a chunk's indices, in the order in which they were coded: where the decoder's
    probabilities were not the encoder's it finds others."""
    return zlib.crc32(np.ascontiguousarray(indices, "<i8").tobytes()) & 0xFFFF


def write(path: str | os.PathLike[str], header: Header, chunks: Iterable[Chunk]) -> None:
    """Writes a file whole or not at all; an older one of that name is replaced. Raises ValueError like `blocks`."""
    with whole(path) as file:
        file.writelines(blocks(header, chunks))


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to be written that has its name only once it is whole; an older one of that name is replaced then."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def blocks(header: Header, chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """The bytes of a file: the header, each chunk as it comes, the end.

    Raises ValueError where a number is out of its range, or there are more or fewer chunks than the header says.
    """
    first = header_bytes(header)
    yield first
    seed = int.from_bytes(first[-4:], "little")
    lengths = []
    for number, chunk in enumerate(chunks):
        yield _chunk_bytes(chunk, number, seed)
        lengths.append(len(chunk.payload))
    if len(lengths) != header.chunks:
        raise ValueError(f"there are {len(lengths)} chunks, of which the header says {header.chunks}; make them agree")
    yield _end_bytes(lengths, seed)


def read(stream: BinaryIO) -> tuple[Header, Iterator[Chunk | Damage]]:
    """The header, and what follows it: for each of `header.chunks` in order a Chunk, or a Damage where it cannot be
    read; where the end is not whole, one Damage more, of number `header.chunks`.

    A chunk is read when it is asked for. Where the stream can seek, the end is read first: its list of lengths finds
    every chunk, also after one whose own length is damaged. A pipe loses what follows such a chunk.

    Raises ValueError where the header cannot be read: another kind of file, a newer version, truncated or damaged; and
    where so little follows it that nearly all chunks are missing.
    """
    source = Source(stream)
    header = read_header(source)
    size = source.size()
    if size is not None and header.chunks > _CHUNKS_PER_BYTE * size:
        raise ValueError(
            f"nearly all of the {header.chunks} chunks of this .vqz file are missing; restore it from a copy"
        )
    return header, _read_rest(source, header.chunks, source.crc)


def _read_rest(source: Source, count: int, seed: int) -> Iterator[Chunk | Damage]:
    starts = _starts(source, count, seed)
    for number in range(count):
        if starts is not None:
            source.seek(starts[number])
        found: Chunk | Damage
        try:
            found = _read_chunk(source, number, seed)
        except Damaged as error:
            found = Damage(number, f"chunk {number} of {count} is lost: {error}")
        yield found
    if starts is None:
        try:
            _read_end(source, count, seed)
            if source.stream.read(1):
                raise Damaged(f"more follows at byte {source.position}")
        except Damaged as error:
            yield Damage(count, f"the end is not whole: {error}")


def _starts(source: Source, count: int, seed: int) -> list[int] | None:
    """Where the chunks start, from the end of the file; None where that cannot be had."""
    first, size = source.position, source.size()
    if size is None or size < first + _END:
        return None
    try:
        source.seek(size - _END)
        end = size - _END - int.from_bytes(source.exactly(4), "little")
        if end < first:
            return None
        source.seek(end)
        starts = [first]
        for length in _read_end(source, count, seed):
            starts.append(starts[-1] + len(varint(length)) + _AROUND_PAYLOAD + length)
        return starts if starts[-1] == end else None
    except Damaged:
        return None
    finally:
        source.seek(first)


def _chunk_bytes(chunk: Chunk, number: int, seed: int) -> bytes:
    if len(chunk.payload) > MOST_PAYLOAD:
        raise ValueError(f"chunk {number} has {len(chunk.payload)} bytes of {MOST_PAYLOAD}; put fewer items in a chunk")
    if not (0 <= chunk.dither < 1 << 8 and 0 <= chunk.check < 1 << 16):
        raise ValueError(f"dither is {chunk.dither}, check {chunk.check}; make them a byte and two")
    body = varint(len(chunk.payload)) + bytes([chunk.dither]) + chunk.check.to_bytes(2, "little") + chunk.payload
    return body + zlib.crc32(body, _seed(number, seed)).to_bytes(4, "little")


def _read_chunk(source: Source, number: int, seed: int) -> Chunk:
    source.crc = _seed(number, seed)
    length = source.number("its length", 0, MOST_PAYLOAD)
    dither, check = source.exactly(1)[0], int.from_bytes(source.exactly(2), "little")
    payload = source.exactly(length)
    source.checksum()
    return Chunk(dither, check, payload)


def _end_bytes(lengths: list[int], seed: int) -> bytes:
    listed = b"".join(map(varint, lengths))
    body = listed + len(listed).to_bytes(4, "little")
    return body + zlib.crc32(body, seed).to_bytes(4, "little")


def _read_end(source: Source, count: int, seed: int) -> list[int]:
    source.crc, start = seed, source.position
    lengths = [source.number("the length of a chunk", 0, MOST_PAYLOAD) for _ in range(count)]
    listed = source.position - start
    if int.from_bytes(source.exactly(4), "little") != listed:
        raise Damaged(f"the size before byte {source.position} is not that of its list")
    source.checksum()
    return lengths


def _seed(number: int, seed: int) -> int:
    return zlib.crc32(number.to_bytes(4, "little"), seed)

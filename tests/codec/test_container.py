from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.codec import Chunk, Damage, Header, blocks, read, write
from vqkit.codec.container import MOST_PAYLOAD, check_of
from vqkit.codec.fields import Source, varint

HEADER = Header("image", 3, (768, 512), 5, "0123456789abcdef", "fedcba9876543210", (2, 1), None, 4, 3)
CHUNKS = [Chunk(100 + n, 1000 * n, bytes([n]) * (60 * n)) for n in range(7)]
WHOLE = b"".join(blocks(HEADER, CHUNKS))


class Pipe(io.RawIOBase):
    """A stream that cannot seek and hands out a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.inner.read(min(size, 7))


STREAMS = (io.BytesIO, Pipe)


def starts() -> list[int]:
    """Where each chunk and the end start."""
    pieces = list(blocks(HEADER, CHUNKS))
    return [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))][: len(CHUNKS) + 1]


def found(data: bytes, kind: Any = io.BytesIO) -> list[Chunk | Damage]:
    return list(read(kind(data))[1])


headers = st.builds(
    Header,
    modality=st.sampled_from(["image", "audio", "series", "video"]),
    channels=st.integers(1, 2**16),
    grid=st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    samples=st.integers(1, 20),
    tokenizer=st.binary(min_size=8, max_size=8).map(bytes.hex),
    prior=st.binary(min_size=8, max_size=8).map(bytes.hex),
    kept=st.lists(st.integers(1, 2**16), min_size=1, max_size=4).map(tuple),
    labels=st.none(),
    windows=st.integers(1, 5),
    items_per_chunk=st.integers(1, 2**40),
)


@given(header=headers, seed=st.none() | st.integers(0, 2**32))
def test_a_file_is_read_as_it_was_written(header: Header, seed: int | None) -> None:
    generator = random.Random(seed or 0)
    if seed is not None:
        header = header._replace(labels=tuple(generator.randrange(2**31) for _ in range(header.samples)))
    chunks = [
        Chunk(generator.randrange(256), generator.randrange(2**16), generator.randbytes(generator.randrange(300)))
        for _ in range(header.chunks)
    ]
    stored = b"".join(blocks(header, chunks))
    for kind in STREAMS:
        again, following = read(kind(stored))  # type: ignore[arg-type]
        assert again == header
        assert list(following) == chunks


def test_a_picture_costs_48_bytes_and_a_chunk_12() -> None:
    picture = Header("image", 3, (2160, 3840), 1, "0" * 16, "f" * 16, (4, 1, 1))
    assert len(b"".join(blocks(picture, [Chunk(0, 0, b"")]))) - 9 == 48
    chunk = Chunk(0, 0, bytes(16383))
    one, many = (len(b"".join(blocks(picture._replace(windows=n), [chunk] * n))) for n in (1, 101))
    assert many - one == 100 * (11 + 16383)


def test_a_file_replaces_another_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "some.vqz"
    write(path, HEADER, CHUNKS)
    assert path.read_bytes() == WHOLE
    with pytest.raises(ValueError, match="3 chunks, of which the header says 7"):
        write(path, HEADER, CHUNKS[:3])
    with pytest.raises(RuntimeError, match="stopped"):
        write(path, HEADER, (_stop() if n == 3 else chunk for n, chunk in enumerate(CHUNKS)))
    assert path.read_bytes() == WHOLE
    assert list(tmp_path.iterdir()) == [path]


def _stop() -> Chunk:
    raise RuntimeError("stopped")


def test_a_file_within_another_is_read_from_where_the_stream_stands() -> None:
    stream = io.BytesIO(b"before" + WHOLE)
    stream.seek(6)
    assert list(read(stream)[1]) == CHUNKS


def test_chunks_come_before_the_rest_has_arrived() -> None:
    first_two = WHOLE[: starts()[2]]
    _, following = read(Pipe(first_two))  # type: ignore[arg-type]
    assert [next(following), next(following)] == CHUNKS[:2]


@pytest.mark.parametrize("kind", STREAMS)
def test_a_damaged_chunk_costs_itself(kind: Any) -> None:
    for number, start in enumerate(starts()[:-1]):
        damaged = bytearray(WHOLE)
        damaged[start + 3] ^= 8
        got = found(bytes(damaged), kind)
        assert [chunk for n, chunk in enumerate(got) if n != number] == CHUNKS[:number] + CHUNKS[number + 1 :]
        assert isinstance(got[number], Damage) and got[number].number == number
        assert got[number].reason.startswith(f"chunk {number} of 7 is lost: the CRC-32")


@pytest.mark.parametrize("length", [0, 5, 255])
def test_a_damaged_length_costs_one_chunk_where_the_stream_can_seek(length: int) -> None:
    start = starts()[3]
    damaged = bytearray(WHOLE)
    damaged[start] = length
    got = found(bytes(damaged))
    assert [type(chunk) for chunk in got] == [Chunk] * 3 + [Damage] + [Chunk] * 3
    assert got[:3] + got[4:] == CHUNKS[:3] + CHUNKS[4:]
    through_pipe = found(bytes(damaged), Pipe)
    assert through_pipe[:3] == CHUNKS[:3]
    assert all(isinstance(chunk, Damage) for chunk in through_pipe[3:]) and len(through_pipe) == 8


@pytest.mark.parametrize("kind", STREAMS)
def test_a_truncated_file_keeps_the_chunks_before_and_says_what_is_missing(kind: Any) -> None:
    pieces = starts()
    for size in range(pieces[0], len(WHOLE)):
        got = found(WHOLE[:size], kind)
        whole = sum(start <= size for start in pieces[1:])
        assert got[:whole] == CHUNKS[:whole]
        assert [chunk.number for chunk in got[whole:] if isinstance(chunk, Damage)] == list(range(whole, 8))
        assert f"the file ends at byte {size}" in got[-1].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", STREAMS)
def test_a_damaged_end_loses_no_chunk(kind: Any) -> None:
    for position in range(starts()[-1], len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 1
        got = found(bytes(damaged), kind)
        assert got[:7] == CHUNKS
        assert isinstance(got[7], Damage) and len(got) == 8
    end = starts()[-1]
    for data in (WHOLE + b"\0", WHOLE[:end] + b"\0" + WHOLE[end:]):
        got = found(data, kind)
        assert got[:7] == CHUNKS
        assert isinstance(got[7], Damage) and "the end is not whole" in got[7].reason


def test_a_stream_that_was_closed_is_not_called_damaged() -> None:
    with io.BytesIO(WHOLE) as stream:
        _, following = read(stream)
    with pytest.raises(ValueError, match="closed file"):
        next(following)


def test_chunks_of_another_place_or_file_are_not_taken() -> None:
    same = [Chunk(1, 2, b"payload") for _ in range(7)]
    data = b"".join(blocks(HEADER, same))
    parts = list(blocks(HEADER, same))
    assert parts[2] != parts[1]
    exchanged = data.replace(parts[1] + parts[2], parts[2] + parts[1])
    assert [type(chunk) for chunk in found(exchanged)] == [Damage, Damage] + [Chunk] * 5
    other = list(blocks(HEADER._replace(prior="0" * 16), same))
    assert [type(chunk) for chunk in found(data.replace(parts[1], other[1]))] == [Damage] + [Chunk] * 6


def test_2000_mutated_files_give_errors_or_what_was_written() -> None:
    generator = random.Random(0)
    tracemalloc.start()
    refused = refusals = lost = 0
    for trial in range(2000):
        data = bytearray(WHOLE)
        for _ in range(generator.choice([1, 1, 2, 5])):
            position, size = generator.randrange(len(data)), generator.choice([1, 1, 2, 9])
            kind = generator.randrange(5)
            if kind == 0:
                data[position] ^= 1 << generator.randrange(8)
            elif kind == 1:
                data[position : position + size] = generator.randbytes(size)
            elif kind == 2:
                data[position:position] = generator.randbytes(size)
            elif kind == 3:
                del data[position : position + size]
            else:
                data[position:] = b"" if trial % 2 else data[position:] + data[:size]
            data = data or bytearray(1)
        try:
            header, following = read(STREAMS[trial % 2](bytes(data)))  # type: ignore[arg-type]
            got = list(following)
        except ValueError as error:
            refusals += 1
            refused += ".vqz file" in str(error)
            continue
        assert header == HEADER
        assert 7 <= len(got) <= 8
        assert all(isinstance(chunk, Damage) or chunk == CHUNKS[n] for n, chunk in enumerate(got))
        assert data == WHOLE or any(isinstance(chunk, Damage) for chunk in got)
        lost += data != WHOLE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused == refusals > 100 and lost > 1000
    assert peak < 40 << 20  # a damaged length may ask for one payload of 16 MiB


def test_a_header_is_refused_with_a_reason() -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n", b"\x89V"):
        with pytest.raises(ValueError, match=r"no \.vqz file"):
            read(io.BytesIO(data))
    with pytest.raises(ValueError, match="of version 2, here is 1; install"):
        read(io.BytesIO(WHOLE[:4] + b"\x02" + WHOLE[5:]))
    for size in range(4, starts()[0]):
        with pytest.raises(ValueError, match=f"damaged .the file ends at byte {size}"):
            read(io.BytesIO(WHOLE[:size]))
    for position in range(5, starts()[0]):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 64
        with pytest.raises(ValueError, match=r"header of this \.vqz file is damaged"):
            read(io.BytesIO(bytes(damaged)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modality": "smell"}, "one of image, audio"),
        ({"channels": 0}, "number of channels"),
        ({"grid": ()}, "sides of the grid"),
        ({"grid": (1, 1, 1, 1)}, "sides of the grid"),
        ({"grid": (2**31,)}, "a side of the grid"),
        ({"grid": (2**20, 2**20)}, "too many"),
        ({"samples": 0}, "number of samples"),
        ({"samples": -1}, "negative"),
        ({"samples": 2**20, "windows": 3, "items_per_chunk": 1}, "too many"),
        ({"tokenizer": "0" * 15}, "16 hex digits"),
        ({"prior": "G" * 16}, "16 hex digits"),
        ({"kept": ()}, "number of levels"),
        ({"kept": (0,)}, "number of codebooks"),
        ({"labels": (1, 2)}, "2 labels for 5 samples"),
        ({"labels": (0, 0, 0, 0, 2**31)}, "a label"),
        ({"items_per_chunk": 0}, "items a chunk"),
    ],
)
def test_a_header_out_of_its_bounds_is_not_written(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        next(blocks(HEADER._replace(**changes), []))


def test_a_chunk_out_of_its_bounds_is_not_written() -> None:
    header = HEADER._replace(samples=1, windows=1)
    for chunk in (Chunk(256, 0, b""), Chunk(0, 2**16, b""), Chunk(-1, 0, b""), Chunk(0, 0, bytes(MOST_PAYLOAD + 1))):
        with pytest.raises(ValueError, match=r"make them a byte and two|fewer items"):
            list(blocks(header, [chunk]))
    with pytest.raises(ValueError, match="8 chunks, of which the header says 7"):
        list(blocks(HEADER, [*CHUNKS, CHUNKS[0]]))


def test_a_check_is_of_64_bit_integers_in_order() -> None:
    indices = np.array([[1, 2], [3, 4]])
    assert check_of(indices) == check_of(indices.astype(np.int32)) == check_of(indices.ravel())
    assert check_of(indices) == check_of(np.asfortranarray(indices))
    assert check_of(indices) != check_of(indices.T)


@pytest.mark.parametrize(
    "data", [b"\x80", b"\x80\x00", b"\xff\xff\xff\xff\x7f", b"\x80" * 30, b"\x0b", b"\x04", b"\x85\x00"]
)
def test_a_number_beyond_its_bounds_is_refused_without_reading_on(data: bytes) -> None:
    source = Source(io.BytesIO(data + b"\0" * 100 if len(data) > 2 else data))
    with pytest.raises(ValueError, match=r"from 5 to 10|ends at byte"):
        source.number("a number", 5, 10)
    assert source.position <= 10


@given(st.integers(0, 2**40))
def test_a_varint_is_read_back(number: int) -> None:
    assert Source(io.BytesIO(varint(number))).number("a number", 0, 2**40) == number


def test_a_readers_work_is_bounded_by_what_there_is_to_read() -> None:
    header = Header("image", 1, (8, 8), 1 << 20, "0" * 16, "1" * 16, (1,))
    first = next(blocks(header, []))
    with pytest.raises(ValueError, match="nearly all of the 1048576 chunks"):
        read(io.BytesIO(first))
    few = header._replace(samples=200)
    assert len(list(read(io.BytesIO(next(blocks(few, []))))[1])) == few.chunks + 1

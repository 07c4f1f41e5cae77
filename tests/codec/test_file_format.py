"""docs/file_format.md is enough: what follows was written from that page, and reads what the code writes."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vqkit.codec import Chunk, Codec, Header, Windows, blocks, encode_samples, read
from vqkit.codec.container import check_of
from vqkit.codec.entropy import Decoder, Encoder
from vqkit.codec.tables import unsafe_dithers, weights
from vqkit.priors import UnigramPrior
from vqkit.signal import Layout

PAGE = (Path(__file__).parents[2] / "docs" / "file_format.md").read_text()

HEADER = Header("image", 1, (8, 8), 3, "0123456789abcdef", "fedcba9876543210", (1,), (3, 0, 7), items_per_chunk=2)
INDICES = np.arange(12) ** 2 % 5
LOGITS = -((7 * np.arange(12)[:, None] + 3 * np.arange(5)) % 11) / 10
LOGITS[1::2, 3] = -np.inf
DITHERS = (127, 200)

COUNTS = [[8, 4, 2, 1, 0], [6, 3, 0, 0, 0]]
IN_WINDOWS = np.arange(24).reshape(2, 2, 2, 3) ** 2 % np.array([5, 3])[:, None, None]


def written() -> bytes:
    chunks = []
    for start, stop, dither in ((0, 8, DITHERS[0]), (8, 12, DITHERS[1])):
        encoder = Encoder()
        encoder.encode(INDICES[start:stop], weights(LOGITS[start:stop], dither))
        chunks.append(Chunk(dither, check_of(INDICES[start:stop]), encoder.sealed()))
    return b"".join(blocks(HEADER, chunks))


def written_in_windows() -> bytes:
    prior = UnigramPrior(Layout(((2, 2),), ((5, 3),)))
    prior.get_buffer("counts_0").copy_(torch.tensor(COUNTS))
    coder, windows = Codec(prior), Windows(prior.layout, ((2, 3),), (2,))
    header = Header("image", 1, (8, 12), 2, "0123456789abcdef", "7e10b976855a36d5", (2,), None, windows.number, 4)
    return b"".join(blocks(header, encode_samples(coder, windows, header, [(torch.from_numpy(IN_WINDOWS),)])))


def test_the_files_of_the_page_are_written_byte_by_byte() -> None:
    blocks_of_hex = re.findall(r"^```\n([0-9a-f\n]+)\n```", PAGE, re.MULTILINE)
    assert not unsafe_dithers(LOGITS)[list(DITHERS)].any()
    assert [bytes.fromhex(block) for block in blocks_of_hex] == [written(), written_in_windows()]


def test_the_file_of_the_page_is_read_back() -> None:
    header, chunks = read(io.BytesIO(written()))
    assert header == HEADER
    found = list(chunks)
    assert [type(chunk) for chunk in found] == [Chunk, Chunk]
    indices = [
        Decoder(chunk.payload).decode(weights(logits, chunk.dither))  # type: ignore[union-attr]
        for chunk, logits in zip(found, np.split(LOGITS, [8]), strict=True)
    ]
    assert np.array_equal(np.concatenate(indices), INDICES)


class Fields(NamedTuple):
    numbers: list[int]
    fingerprints: str
    kept: list[int]
    labels: list[int]
    chunks: list[tuple[int, int, bytes]]


def another_reader(data: bytes) -> Fields:
    """Reads a file of pictures as the page says."""
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        return data[position - count : position]

    def varint() -> int:
        value, shift = 0, 0
        while (byte := take(1)[0]) > 127:
            value += (byte - 128) << shift
            shift += 7
        return value + (byte << shift)

    assert take(5) == b"\x89VQZ\x01"
    numbers = [varint() for _ in range(8)]
    samples, windows, items_per_chunk = numbers[5:]
    fingerprints = take(16).hex()
    kept = [varint() for _ in range(varint())]
    labels = [varint() for _ in range(varint() * samples)]
    seed = zlib.crc32(data[:position])
    assert take(4) == seed.to_bytes(4, "little")
    chunks = []
    for number in range(math.ceil(samples * windows / items_per_chunk)):
        start = position
        length = varint()
        dither, check, payload = take(1)[0], int.from_bytes(take(2), "little"), take(length)
        crc = zlib.crc32(data[start:position], zlib.crc32(number.to_bytes(4, "little"), seed))
        assert take(4) == crc.to_bytes(4, "little")
        chunks.append((dither, check, payload))
    start = position
    assert [varint() for _ in chunks] == [len(payload) for _, _, payload in chunks]
    assert take(4) == (position - 4 - start).to_bytes(4, "little")
    assert take(4) == zlib.crc32(data[start : position - 4], seed).to_bytes(4, "little")
    assert position == len(data)
    return Fields(numbers, fingerprints, kept, labels, chunks)


def another_decoder(payload: bytes, logits: np.ndarray, dither: int) -> list[int]:
    """Decodes a payload as the page says."""
    data = payload + bytes(8 + 4 * len(logits))
    lower, size, point, position = 0, 2**64 - 1, int.from_bytes(data[:8], "big"), 8
    symbols = []
    for row in logits.tolist():
        depths = [16 * (max(row) - logit) - (dither + 0.5) / 256 for logit in row]
        masses = [0 if d == math.inf else round(2**30 * math.exp(-min(math.ceil(d), 320) / 16)) for d in depths]
        unit = (2**24 - len(row)) / sum(masses)
        bounds = [math.floor(sum(masses[:k]) * unit) + k for k in range(len(row))] + [2**24]
        scale = size >> 24
        v = (point - lower) % 2**64 // scale
        k = next(k for k in range(len(row)) if bounds[k] <= v < bounds[k + 1])
        symbols.append(k)
        lower, size = (lower + scale * bounds[k]) % 2**64, scale * (bounds[k + 1] - bounds[k])
        if size < 2**32:
            lower, size = (lower << 32) % 2**64, size << 32
            point = (point << 32) % 2**64 + int.from_bytes(data[position : position + 4], "big")
            position += 4
    return symbols


def another_check(symbols: list[int]) -> int:
    return zlib.crc32(b"".join(symbol.to_bytes(8, "little") for symbol in symbols)) % 2**16


def test_another_implementation_reads_it() -> None:
    fields = another_reader(written())
    assert fields.numbers == [0, 1, 2, 8, 8, 3, 1, 2] and fields.fingerprints == "0123456789abcdeffedcba9876543210"
    assert (fields.kept, fields.labels) == ([1], [3, 0, 7])
    indices = [
        another_decoder(payload, logits, dither)
        for (dither, _, payload), logits in zip(fields.chunks, np.split(LOGITS, [8]), strict=True)
    ]
    assert indices[0] + indices[1] == INDICES.tolist()
    assert [check for _, check, _ in fields.chunks] == [another_check(part) for part in indices]


def test_another_implementation_reads_windows_of_codebooks_of_other_sizes() -> None:
    fields = another_reader(written_in_windows())
    counted = hashlib.sha256(np.array(COUNTS, "<i8").tobytes()).digest()[:8]
    assert fields.fingerprints == "0123456789abcdef" + counted.hex()
    assert (fields.numbers, fields.kept, fields.labels) == ([0, 1, 2, 8, 12, 2, 2, 4], [2], [])
    ((dither, check, payload),) = fields.chunks
    rows = [
        [math.log((n + 1) / (sum(counts) + size)) for n in counts[:size]] + [-math.inf] * (5 - size)
        for counts, size in zip(COUNTS, (5, 3), strict=True)
    ]
    walk = [  # and the second window's last column is beyond the tokens
        (item // 2, q, row, 2 * (item % 2) + column)
        for q, item, row, column in itertools.product(range(2), range(4), range(2), range(2))
        if 2 * (item % 2) + column < 3
    ]
    symbols = another_decoder(payload, np.array([rows[q] for _, q, _, _ in walk]), dither)
    assert check == another_check(symbols)
    assert dict(zip(walk, symbols, strict=True)) == dict(np.ndenumerate(IN_WINDOWS))


def test_another_implementation_decodes_any_logits() -> None:
    generator = np.random.default_rng(0)
    for alphabet, spread in ((2, 0.1), (3, 30.0), (17, 3.0), (300, 1.0), (300, 10.0)):
        logits = generator.standard_normal((100, alphabet)) * spread
        symbols = np.where(generator.random(100) < 0.5, logits.argmax(1), generator.integers(0, alphabet, 100))
        dither = int(generator.integers(256))
        encoder = Encoder()
        encoder.encode(symbols, weights(logits, dither))
        assert another_decoder(encoder.sealed(), logits, dither) == symbols.tolist()

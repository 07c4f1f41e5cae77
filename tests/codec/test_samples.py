from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vqkit.codec import (
    Codec,
    Damage,
    Header,
    Samples,
    Windows,
    blocks,
    check_header,
    decode_samples,
    encode_samples,
    items_per_chunk,
    read,
)
from vqkit.priors import UniformPrior, UnigramPrior
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((2, 3),), ((16,),), 4)
GRIDS = ((5, 7),)  # 3 x 3 windows


def codec() -> Codec:
    prior = UnigramPrior(LAYOUT)
    prior.fit([((torch.randint(5, (9, 1, 2, 3)),), {})])
    return Codec(prior)


def file(
    made: Codec, samples: list[Indices], grids: tuple[tuple[int, ...], ...], per_chunk: int
) -> tuple[bytes, Header]:
    windows = Windows(LAYOUT, grids, (1,))
    count = sum(len(levels[0]) for levels in samples)
    size = tuple(4 * n for n in grids[0])
    header = Header("image", 1, size, count, "0" * 16, "1" * 16, (1,), None, windows.number, per_chunk)
    return b"".join(blocks(header, encode_samples(made, windows, header, samples))), header


def opened(made: Codec, data: bytes, grids: tuple[tuple[int, ...], ...]) -> tuple[list[Samples], list[Damage]]:
    header, chunks = read(io.BytesIO(data))
    damages: list[Damage] = []
    windows = Windows(LAYOUT, grids, (1,))
    return list(decode_samples(made, windows, header, chunks, damages.append)), damages


def groups(samples: torch.Tensor, *sizes: int) -> Iterator[Indices]:
    return ((part,) for part in samples.split(list(sizes)))


@pytest.mark.parametrize("per_chunk", [1, 4, 9, 13, 30])
@pytest.mark.parametrize("grids", [LAYOUT.grids, GRIDS])
def test_samples_come_back_however_they_are_grouped(grids: tuple[tuple[int, ...], ...], per_chunk: int) -> None:
    made, samples = codec(), torch.randint(16, (7, 1, *grids[0]))
    data, header = file(made, list(groups(samples, 2, 4, 1)), grids, per_chunk)
    assert data == file(made, list(groups(samples, 7)), grids, per_chunk)[0]
    found, damages = opened(made, data, grids)
    assert not damages and header.chunks == -(-7 * header.windows // per_chunk)
    assert torch.equal(torch.cat([some.indices[0] for some in found]), samples)
    assert all(bool(some.read.all()) for some in found)


@pytest.mark.parametrize(("alphabet", "dtype"), [(256, torch.uint8), (257, torch.int16), ((1 << 15) + 1, torch.int32)])
def test_indices_are_held_in_no_more_bytes_than_they_need(alphabet: int, dtype: torch.dtype) -> None:
    made = Codec(UniformPrior(Layout(((2, 3),), ((alphabet,),))))
    windows = Windows(made.layout, ((2, 3),), (1,))
    header = Header("image", 1, (8, 12), 1, "0" * 16, "1" * 16, (1,))
    samples = torch.tensor([0, 1, 127, 128, 255, alphabet - 1]).view(1, 1, 2, 3)
    chunks = list(encode_samples(made, windows, header, [(samples,)]))
    (found,) = decode_samples(made, windows, header, chunks, pytest.fail)
    assert found.indices[0].dtype == dtype
    assert torch.equal(found.indices[0].long(), samples)


def test_a_damaged_chunk_costs_its_windows() -> None:
    made, samples = codec(), torch.randint(16, (3, 1, 5, 7))
    data, _ = file(made, [(samples,)], GRIDS, 4)  # the third chunk has the last window of the first sample
    first = data.index(made.encode((samples[:1, :, :2, :3],), (torch.ones(1, 1, 2, 3) > 0,), {}).payload[:2])
    lost = bytearray(data)
    lost[first] ^= 1
    found, damages = opened(made, bytes(lost), GRIDS)
    assert [damage.number for damage in damages] == [0]
    indices = torch.cat([some.indices[0] for some in found])
    seen = torch.cat([some.read for some in found])
    assert seen[1:].all() and seen[0].tolist() == [False] * 4 + [True] * 5
    assert torch.equal(indices[1:], samples[1:]) and torch.equal(indices[0, :, 2:, 3:], samples[0, :, 2:, 3:])
    likeliest = made.likeliest((torch.ones(1, 1, 2, 3) > 0,), {})[0]
    assert torch.equal(indices[0, :, :2, :3], likeliest[0])


def test_a_file_cut_short_gives_what_it_has() -> None:
    made, samples = codec(), torch.randint(16, (6, 1, 2, 3))
    data, _ = file(made, [(samples,)], LAYOUT.grids, 2)
    for length in range(60, len(data)):
        found, damages = opened(made, data[:length], LAYOUT.grids)
        seen = torch.cat([some.read[:, 0] for some in found])
        indices = torch.cat([some.indices[0] for some in found])
        assert len(seen) == 6 and damages
        assert torch.equal(indices[seen], samples[seen]) and not indices[~seen].any()


def test_mutated_files_are_refused_or_say_what_is_lost() -> None:
    made, samples, generator = codec(), torch.randint(16, (2, 1, 5, 7)), np.random.default_rng(0)
    data, header = file(made, [(samples,)], GRIDS, 7)
    windows, partly = Windows(LAYOUT, GRIDS, (1,)), 0
    for number in range(400):
        changed, start, length = bytearray(data), int(generator.integers(len(data))), int(generator.integers(1, 9))
        match number % 4:
            case 0:
                changed[start] ^= 1 << int(generator.integers(8))
            case 1:
                changed[start : start + length] = generator.integers(0, 256, length, np.uint8).tobytes()
            case 2:
                changed[start:start] = bytes(length)
            case 3:
                del changed[start : start + (length if number % 8 == 3 else len(data))]
        try:
            found_header, chunks = read(io.BytesIO(bytes(changed)))
        except ValueError:
            continue
        assert found_header == header
        damages: list[Damage] = []
        found = list(decode_samples(made, windows, header, chunks, damages.append))
        items, true = windows.cut((torch.cat([some.indices[0] for some in found]),))[0], windows.cut((samples,))[0]
        read_items = torch.cat([some.read for some in found]).flatten()
        assert torch.equal(items[read_items], true[read_items])
        assert damages or bytes(changed) == data
        partly += bool(read_items.any()) and not bool(read_items.all())
    assert partly > 100


def test_a_chunk_of_other_probabilities_is_lost_and_said_to_be() -> None:
    made, samples = codec(), torch.randint(16, (4, 1, 2, 3))
    data, _ = file(made, [(samples,)], LAYOUT.grids, 2)
    found, damages = opened(codec(), data, LAYOUT.grids)
    assert len(damages) == 2 and all("is lost" in damage.reason for damage in damages)
    assert not torch.cat([some.read for some in found]).any()


def test_what_a_model_cannot_hold_is_refused_before_it_is_made() -> None:
    windows = Windows(LAYOUT, GRIDS, (1,))
    header = Header("image", 1, (20, 28), 3, "0" * 16, "1" * 16, (1,), None, 9, 4)
    check_header(header, windows)
    with pytest.raises(ValueError, match="of which the model makes 9"):
        check_header(header._replace(windows=8), windows)
    with pytest.raises(ValueError, match="of which the model takes 64 at most"):
        check_header(header._replace(items_per_chunk=1 << 40), windows)
    large = Windows(LAYOUT, ((1 << 13, 1 << 13),), (1,))
    with pytest.raises(ValueError, match="too large"):
        check_header(header._replace(windows=large.number), large)


def test_fewer_large_items_make_a_chunk() -> None:
    assert items_per_chunk(Layout(((8, 8),), ((512,),))) == 64
    assert items_per_chunk(Layout(((32, 32),), ((1024,),))) == 4
    assert items_per_chunk(Layout(((64, 64),), ((1 << 20,),))) == 1
    assert items_per_chunk(Layout(((16, 16),), ((9,) * 160 + (3,) * 480,))) == 5

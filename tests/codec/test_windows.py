from __future__ import annotations

import pytest
import torch

from vqkit.codec import Windows
from vqkit.signal import Layout

PICTURES = Layout(((2, 3), (4, 6)), ((5,), (7, 7)))
CASES = {
    "own size": (PICTURES, PICTURES.grids),
    "several": (PICTURES, ((5, 9), (10, 18))),
    "smaller": (PICTURES, ((1, 2), (2, 4))),
    "sound": (Layout(((4,),), ((5, 5, 5),)), ((11,),)),
    "video": (Layout(((2, 2, 3),), ((5,),)), ((5, 2, 4),)),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_are_cut_in_raster_order_and_join_again(case: str) -> None:
    layout, grids = CASES[case]
    windows = Windows(layout, grids, tuple(map(len, layout.codebook_sizes)))
    levels = tuple(torch.randint(1, 5, (3, len(q), *g)) for q, g in zip(layout.codebook_sizes, grids, strict=True))
    items = windows.cut(levels)
    places = list(
        torch.cartesian_prod(*(torch.arange(side) for side in windows.sides)).view(windows.number, -1).tolist()
    )
    for level, parts, window, coded in zip(levels, items, layout.grids, windows.coded, strict=True):
        assert parts.shape == (3 * windows.number, level.shape[1], *window)
        for number, place in enumerate(places):
            rows = [slice(at * n, (at + 1) * n) for at, n in zip(place, window, strict=True)]
            inside = level[(1, slice(None), *rows)]
            there = tuple(slice(n) for n in inside.shape)
            assert torch.equal(parts[windows.number + number][there], inside)
            assert bool(coded[number][there].all()) and int(coded[number].sum()) == inside.numel()
    assert all(map(torch.equal, windows.join(items), levels))


def test_what_is_left_out_is_not_coded() -> None:
    windows = Windows(PICTURES, ((3, 3), (6, 6)), (1, 1))
    coarse, fine = windows.coded
    assert int(coarse.sum()) == 9 and int(fine[:, 0].sum()) == 36 and not fine[:, 1].any()
    (only,) = Windows(PICTURES, ((3, 3), (6, 6)), (1,)).coded
    assert torch.equal(only, coarse)
    items = windows.cut((torch.ones(1, 1, 3, 3), torch.ones(1, 2, 6, 6)))
    assert [tuple(level.shape) for level in windows.join(items)] == [(1, 1, 3, 3), (1, 1, 6, 6)]


def test_levels_that_would_be_cut_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same windows"):
        Windows(PICTURES, ((2, 3), (5, 6)), (1, 2))

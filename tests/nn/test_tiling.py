"""Tiles: their cores make up the grid, what is seen is the core and its halo, and parts go back to their place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vqkit.nn import tiles


@pytest.mark.parametrize("cells", [(1,), (7,), (12,), (5, 8), (3, 4, 6)])
@pytest.mark.parametrize(("core", "halo"), [(1, 0), (1, 2), (3, 1), (4, 3), (20, 5)])
def test_cores_make_up_the_grid_and_halos_end_at_its_borders(cells: tuple[int, ...], core: int, halo: int) -> None:
    covered = torch.zeros(cells, dtype=torch.int64)
    for tile in tiles(cells, core, halo):
        covered[tuple(slice(part.start, part.stop) for part in tile.core)] += 1
        for n, part, seen in zip(cells, tile.core, tile.seen, strict=True):
            assert 1 <= len(part) <= core
            assert seen == range(max(0, part.start - halo), min(n, part.stop + halo))
    assert bool((covered == 1).all())


def test_cores_are_of_about_one_size() -> None:
    assert [len(tile.core[0]) for tile in tiles((9,), 8, 0)] == [4, 5]


@pytest.mark.parametrize("positions", [1, 4])
def test_what_is_cut_out_is_put_back(positions: int) -> None:
    x = torch.randn(2, 3, 5 * positions, 7 * positions)
    back = torch.full_like(x, torch.nan)
    for tile in tiles((5, 7), 2, 1):
        tile.put(tile.core_of(tile.cut(x, positions), positions), back, positions)
    assert torch.equal(back, x)


def test_where_x_ends_within_its_last_cell_its_edge_is_repeated() -> None:
    x = torch.randint(0, 256, (1, 2, 9, 13), dtype=torch.uint8)
    padded = F.pad(x.float(), (0, 3, 0, 3), mode="replicate")
    back = torch.zeros_like(x)
    for tile in tiles((3, 4), 2, 1):
        rows, columns = tile.seen
        part = tile.cut(x, 4)
        wanted = padded[..., 4 * rows.start : 4 * rows.stop, 4 * columns.start : 4 * columns.stop]
        assert part.dtype == torch.uint8 and torch.equal(part.float(), wanted)
        tile.put(tile.core_of(part, 4), back, 4)
    assert torch.equal(back, x)

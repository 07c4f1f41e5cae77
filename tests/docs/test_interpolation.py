"""What docs/concepts/interpolation.md states: facts of lines and cells, and what is stored of its runs."""

from __future__ import annotations

import math
from functools import cache
from itertools import groupby

import experiments
import pytest
import torch
from drawing import HERE, MEASURED, stored
from interpolation import QUANTIZED, linear, spherical, step_sizes, table
from torch import Tensor

from vqkit.bottlenecks import EMAVectorQuantizer, nearest_code

PAGE = (HERE / "interpolation.md").read_text()
STORED = stored(MEASURED / "interpolation.json")


def test_the_table_is_what_is_stored() -> None:
    assert table(STORED) in PAGE


def test_continuous_ways_are_as_even_in_many_steps_as_in_few_and_codes_jump_the_more() -> None:
    for name, found in STORED.items():
        coarse, fine, unchanged = found.values()
        if name == QUANTIZED:
            assert fine > 2 * coarse
            assert unchanged > 0.1
        else:
            assert fine == pytest.approx(coarse, rel=0.1)
            assert unchanged < 0.01


def test_a_straight_line_enters_the_cell_of_each_code_once_as_cells_are_convex() -> None:
    codes = torch.randn(64, 4)
    for _ in range(50):
        start, end = 2 * torch.randn(2, 1, 4)
        visited = [code for code, _ in groupby(nearest_code(linear(start, end, 500), codes).tolist())]
        assert len(visited) == len(set(visited)) > 1


@cache
def quantized_and_not(steps: int) -> tuple[Tensor, Tensor]:
    """Step sizes of a trained decoder along z_e between two digits, through the codebook and around it."""
    trained = experiments.train(EMAVectorQuantizer(8, 64, decay=0.9), 60, every=60)
    with torch.no_grad():
        z_e = trained.encoder(experiments.digits()[1][:2])
        z_e = linear(z_e[:1], z_e[1:], steps)
        trained.quantizer.eval()
        return step_sizes(trained.decoder(trained.quantizer(z_e).z)), step_sizes(trained.decoder(z_e))


def test_finer_steps_make_a_continuous_way_smoother_and_leave_jumps_as_they_are() -> None:
    (jumps, smooth), (finer_jumps, finer_smooth) = quantized_and_not(512), quantized_and_not(4096)
    assert float(finer_smooth.max() / smooth.max()) == pytest.approx(1 / 8, rel=0.05)
    assert float(finer_jumps.max() / jumps.max()) > 0.5


def test_between_jumps_nothing_changes_at_all() -> None:
    jumps, smooth = quantized_and_not(4096)
    assert float((jumps == 0).float().mean()) > 0.9
    assert float((smooth == 0).float().mean()) == 0


def test_half_way_between_two_draws_a_line_is_short_of_both_by_the_root_of_two_and_a_great_circle_is_not() -> None:
    start, end = torch.randn(2, 1, 20_000)
    length = math.sqrt(20_000)
    assert float(linear(start, end, 2)[1].norm()) == pytest.approx(length / math.sqrt(2), rel=0.02)
    assert float(spherical(start, end, 2)[1].norm()) == pytest.approx(length, rel=0.02)


@pytest.mark.parametrize("way", [linear, spherical])
def test_a_way_starts_and_ends_where_it_should(way: object) -> None:
    start, end = torch.randn(2, 1, 3, 4)
    points = way(start, end, 10)  # type: ignore[operator]
    assert points.shape == (11, 3, 4)
    torch.testing.assert_close(points[[0, -1]], torch.cat([start, end]))

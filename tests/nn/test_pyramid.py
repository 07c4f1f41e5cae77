"""Encoders of several feature maps: their order, their grids, and what the maps are of each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqkit.nn import AreaPyramid, ConvEncoder, Pyramid, area, linear
from vqkit.nn.pyramid import nearest, resize


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_pyramid_gives_every_stage_the_last_first(dims: int) -> None:
    stages = [ConvEncoder(3, 8, 1, 1, 4, dims), ConvEncoder(8, 6, 2, 1, 4, dims)]
    x = torch.randn(2, 3, *(16,) * dims)
    coarse, fine = Pyramid(stages)(x)
    assert fine.shape == (2, 8, *(8,) * dims) and coarse.shape == (2, 6, *(2,) * dims)
    assert torch.equal(fine, stages[0](x)) and torch.equal(coarse, stages[1](fine))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_area_pyramid_gives_means_of_one_map(dims: int) -> None:
    grids = [(1,) * dims, (3,) * dims, (4,) * dims, (8,) * dims]
    pyramid, x = AreaPyramid(nn.Identity(), 3, 5, grids), torch.randn(2, 3, *(8,) * dims)
    maps = pyramid(x)
    assert [tuple(each.shape) for each in maps] == [(2, 5, *grid) for grid in grids]
    assert torch.equal(maps[-1], pyramid.project(x))
    torch.testing.assert_close(maps[0].flatten(2)[..., 0], maps[-1].flatten(2).mean(2))
    halves = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[dims](maps[-1], 2)
    torch.testing.assert_close(maps[2], halves)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_interpolation_keeps_constants_and_lines(dims: int) -> None:
    x = torch.arange(4.0).view(1, 1, 4, *(1,) * (dims - 1)).expand(1, 1, 4, *(2,) * (dims - 1))
    fine = linear(x, (8, *(2,) * (dims - 1)))
    line = fine.flatten(3)[..., 0] if dims > 1 else fine
    torch.testing.assert_close(line[0, 0, 1:-1], torch.arange(0.25, 3, 0.5))
    torch.testing.assert_close(area(fine, (4, *(2,) * (dims - 1)))[0, 0, 1:-1], x[0, 0, 1:-1])
    assert linear(x, tuple(x.shape[2:])) is x and area(x, tuple(x.shape[2:])) is x


def test_resizing_takes_means_where_nothing_grows_and_lines_elsewhere() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(resize(x, (2, 6)), area(x, (2, 6))) and torch.equal(resize(x, (8, 3)), linear(x, (8, 3)))
    assert resize(x, (4, 6)) is x


def test_the_nearest_is_repeated_where_the_grid_is_finer() -> None:
    x = torch.randn(2, 3, 2, 3)
    assert torch.equal(nearest(x, (4, 9)), x.repeat_interleave(2, 2).repeat_interleave(3, 3))
    assert torch.equal(nearest(x, (3, 1)), x[:, :, [0, 1, 1], 1:2]) and nearest(x, (2, 3)) is x

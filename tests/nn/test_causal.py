"""The causal net: what each position sees of the others, and the same features position by position."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.nn.causal import CausalNet
from vqkit.nn.incremental import Incremental

GRIDS = {1: (7,), 2: (4, 5), 3: (3, 3, 4)}


def net(grid: tuple[int, ...], **changes: Any) -> CausalNet:
    torch.manual_seed(0)
    return CausalNet(grid, **{"width": 4 * len(grid), "depth": 2, "heads": 2, **changes}).eval()


def seen(net: CausalNet, grid: tuple[int, ...], position: tuple[int, ...]) -> Tensor:
    """Of which inputs the features of a position have a gradient: bool [*grid]."""
    x = torch.randn(1, net.width, *grid, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[(0, slice(None), *position)].sum(), x)
    return gradient[0].abs().sum(0) > 0


def positions(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(position) for position in torch.ones(grid).nonzero().tolist()]


def within(offset: list[int], reach: int) -> bool:
    """Whether a position so far back on each axis is before this one and in the field of this reach."""
    axis = next((a for a, back in enumerate(offset) if back), None)
    return axis is not None and 0 < offset[axis] <= reach + 1 and all(abs(b) <= reach for b in offset[axis + 1 :])


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize(("kernel_size", "depth"), [(3, 1), (3, 2), (5, 1)])
def test_a_position_sees_all_before_it_in_the_field_and_nothing_else(dims: int, kernel_size: int, depth: int) -> None:
    grid, model = GRIDS[dims], net(GRIDS[dims], kernel_size=kernel_size, depth=depth)
    for position in positions(grid):
        found = seen(model, grid, position)
        for other in positions(grid):
            if other >= position:
                assert not found[other], (position, other)
            elif within([p - q for p, q in zip(position, other, strict=True)], depth * (kernel_size // 2)):
                assert found[other], (position, other)


@pytest.mark.parametrize("dims", GRIDS)
def test_attention_sees_everything_before(dims: int) -> None:
    grid, model = GRIDS[dims], net(GRIDS[dims], attention_every=1, depth=1)
    for number, position in enumerate(positions(grid)):
        assert torch.equal(seen(model, grid, position).flatten(), torch.arange(math.prod(grid)) < number)


def one_by_one(net: CausalNet, x: Tensor, condition: Tensor | None) -> Tensor:
    """The features of x [B, W, *grid], each position asked for alone."""
    grid = tuple(x.shape[2:])
    step, inputs = Incremental(net, len(x), grid, condition), x.flatten(2)
    before = [torch.zeros_like(inputs[:, :, 0]), *inputs.unbind(2)[:-1]]
    return torch.stack([step(each) for each in before], 2).view_as(x)


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"kernel_size": 5, "depth": 3}, {"attention_every": 2, "depth": 5}],
    ids=["plain", "wide", "attention"],
)
@pytest.mark.parametrize("condition", [None, "one for all", "map"])
@torch.no_grad()
def test_position_by_position_is_the_whole(dims: int, changes: dict[str, int], condition: str | None) -> None:
    grid = GRIDS[dims]
    model = net(grid, conditional=condition is not None, **changes)
    x = torch.randn(2, model.width, *grid)
    given = {None: None, "one for all": x.new_ones(2, model.width, *(1,) * dims), "map": torch.randn_like(x)}[condition]
    torch.testing.assert_close(one_by_one(model, x, given), model(x, given), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_attention_the_grid_may_be_any() -> None:
    model, x = net((4, 5)), torch.randn(2, 8, 6, 3)
    torch.testing.assert_close(one_by_one(model, x, None), model(x), atol=1e-5, rtol=1e-4)


def test_dropout_is_by_call() -> None:
    model, x = net((4, 5)).train(), torch.randn(2, 8, 4, 5)
    assert torch.equal(model(x), model(x)) and not torch.equal(model(x, dropout=0.5), model(x, dropout=0.5))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"width": 0}, "width is 0"),
        ({"kernel_size": 4}, "odd number of positions"),
        ({"kernel_size": 1}, "kernel_size is 1"),
        ({"attention_every": -1}, "attention_every is -1"),
        ({"attention_every": 3}, "give at most 2, or 0"),
        ({"attention_every": 1, "heads": 3}, "multiple of heads"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        net((4, 5), **changes)

"""The dilated net: what each position sees, and the same features position by position, from queues."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.nn.dilated import DilatedNet
from vqkit.nn.queues import Queues

GRIDS = {1: (23,), 2: (4, 6), 3: (2, 3, 4)}
DILATIONS = [(1,), (1, 2, 4), (1, 2, 1, 2), (3, 1, 2)]


def net(dilations: tuple[int, ...], conditional: bool = False) -> DilatedNet:
    torch.manual_seed(0)
    return DilatedNet(6, dilations, conditional).eval()


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize("dilations", DILATIONS)
def test_a_position_sees_its_receptive_field_and_nothing_else(dims: int, dilations: tuple[int, ...]) -> None:
    model, x = net(dilations), torch.randn(1, 6, *GRIDS[dims], requires_grad=True)
    assert model.receptive_field == 1 + sum(dilations)
    for position, features in enumerate(model(x).flatten(2).sum(1)[0]):
        (gradient,) = torch.autograd.grad(features, x, retain_graph=True)
        seen = (gradient.abs().sum(1).flatten() > 0).nonzero().flatten().tolist()
        assert seen == list(range(max(0, position - model.receptive_field), position))


def one_by_one(net: DilatedNet, x: Tensor, condition: Tensor | None) -> Tensor:
    """The features of x [B, W, *grid], each position asked for alone."""
    step, inputs = Queues(net, len(x), condition), x.flatten(2)
    before = [torch.zeros_like(inputs[:, :, 0]), *inputs.unbind(2)[:-1]]
    return torch.stack([step(each) for each in before], 2).view_as(x)


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize("dilations", DILATIONS)
@pytest.mark.parametrize("condition", [None, "one for all", "map"])
@torch.no_grad()
def test_position_by_position_is_the_whole(dims: int, dilations: tuple[int, ...], condition: str | None) -> None:
    model, x = net(dilations, condition is not None), torch.randn(2, 6, *GRIDS[dims])
    given = {None: None, "one for all": torch.randn(2, 6, *(1,) * dims), "map": torch.randn_like(x)}[condition]
    torch.testing.assert_close(one_by_one(model, x, given), model(x, given), atol=1e-6, rtol=1e-5)


def test_the_memory_of_the_queues_is_allocated_once_and_of_the_dilations_alone() -> None:
    queues = Queues(net((1, 2, 4)), 2)
    address = queues.queues.data_ptr()
    for _ in range(20):
        queues(torch.randn(2, 6))
    assert queues.queues.shape == (7, 2, 6) and queues.queues.data_ptr() == address


def test_dropout_is_by_call() -> None:
    model, x = net((1, 2)).train(), torch.randn(2, 6, 9)
    assert torch.equal(model(x), model(x)) and not torch.equal(model(x, dropout=0.5), model(x, dropout=0.5))


@pytest.mark.parametrize(
    ("width", "dilations", "says"),
    [(0, (1,), "width is 0"), (4, (), "at least one layer"), (4, (1, 0), r"dilations are \[1, 0\]")],
)
def test_it_refuses_what_cannot_be_built(width: int, dilations: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DilatedNet(width, dilations)

"""Priors in raster order: what they may look at, what label and context do, and that they learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import Choice, PixelCNN, WaveNet, sample, score
from vqkit.priors.raster import RasterPrior
from vqkit.signal import Layout, Side

LAYOUTS = {
    1: Layout(((5,),), ((4,),), 3),
    2: Layout(((3, 3),), ((5, 3, 4),), 3),
    3: Layout(((2, 2, 2),), ((3, 4),), 3),
}
SIDE = {"label": torch.tensor([1, 2])}

Make = Callable[..., RasterPrior]
MEMBERS: dict[str, Make] = {  # what each sees holds the whole of the grids above
    "pixelcnn": partial(PixelCNN, depth=4),
    "pixelsnail": partial(PixelCNN, depth=4, attention_every=2, heads=2),
    "wavenet": partial(WaveNet, depth=4, cycle=4),
}


@pytest.fixture(params=MEMBERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MEMBERS[request.param]


def small(make: Make, layout: Layout = LAYOUTS[2], **changes: Any) -> RasterPrior:
    torch.manual_seed(0)
    prior = make(layout, **{"width": 12, "context_channels": 2, **changes})
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return prior.eval()


def symbols(layout: Layout = LAYOUTS[2], batch: int = 2) -> Tensor:
    (grid,), (sizes,) = layout.grids, layout.codebook_sizes
    return torch.stack([torch.randint(size, (batch, *grid)) for size in sizes], 1)


def context(layout: Layout = LAYOUTS[2], batch: int = 2) -> Tensor:
    return torch.randn(batch, 2, *layout.grids[0])


def in_order(levels: tuple[Tensor, ...]) -> Tensor:
    """[B, Q, *grid] -> [B, T] in the order of the walk: cell by cell, codebook by codebook."""
    return levels[0].flatten(2).transpose(1, 2).flatten(1)


@pytest.mark.parametrize("dims", LAYOUTS)
def test_a_later_symbol_changes_no_earlier_probability(make: Make, dims: int) -> None:
    layout = LAYOUTS[dims]
    prior, x, c = small(make, layout), symbols(layout), context(layout)
    before = in_order(prior.log_prob((x,), SIDE, c))
    (sizes,) = layout.codebook_sizes
    for t in range(before.shape[1]):
        cell, q = divmod(t, len(sizes))
        other = x.clone()
        other.flatten(2)[:, q, cell] = (other.flatten(2)[:, q, cell] + 1) % sizes[q]
        after = in_order(prior.log_prob((other,), SIDE, c))
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=0)
        assert (after[:, t:] != before[:, t:]).all()  # and every later one depends on it


@pytest.mark.parametrize("dims", LAYOUTS)
def test_log_prob_is_the_score_of_the_walk_with_a_context(make: Make, dims: int) -> None:
    layout = LAYOUTS[dims]
    prior, x, c = small(make, layout), symbols(layout), context(layout)
    (nats,) = prior.log_prob((x,), SIDE, c)
    torch.testing.assert_close(nats, score(prior, (x,), SIDE, c)[0], atol=1e-4, rtol=0)
    alone = prior.log_prob((x[1:],), {"label": SIDE["label"][1:]}, c[1:])[0]
    torch.testing.assert_close(nats[1:], alone, atol=1e-5, rtol=0)


def test_a_walk_yields_the_codebooks_of_a_position_in_turn(make: Make) -> None:
    walk, found = small(make).walk(LAYOUTS[2], 2, SIDE, context()), []
    step = next(walk)
    while step is not None:
        found.append(int(step.positions))
        try:
            step = walk.send(torch.zeros(2, 1, dtype=torch.int64))
        except StopIteration:
            break
    assert found == [q * 9 + cell for cell in range(9) for q in range(3)]


def test_precision_is_float32_whatever_the_caller_trains_in(make: Make) -> None:
    prior, x, c = small(make), symbols(), context()
    nats = prior.log_prob((x,), SIDE, c)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.log_prob((x,), SIDE, c)[0], nats)
        torch.testing.assert_close(score(prior, (x,), SIDE, c)[0], nats, atol=1e-4, rtol=0)
        assert prior.loss((x,), SIDE, c).dtype == torch.float32


@pytest.mark.parametrize("dims", LAYOUTS)
def test_every_parameter_is_trained(make: Make, dims: int) -> None:
    prior = small(make, LAYOUTS[dims])
    prior.loss((symbols(LAYOUTS[dims]),), SIDE, context(LAYOUTS[dims])).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_it_starts_out_uniform(make: Make) -> None:
    prior = make(LAYOUTS[2], width=8)
    nats = prior.log_prob((symbols(),), {})[0]
    torch.testing.assert_close(nats, -torch.tensor([5.0, 3, 4]).log().view(1, 3, 1, 1).expand_as(nats))


def test_label_and_context_change_the_distribution(make: Make) -> None:
    prior, x, c = small(make), symbols(batch=1), context(batch=1)
    rows = [in_order(prior.log_prob((x,), {"label": torch.tensor([label])}, c)) for label in range(3)]
    rows += [in_order(prior.log_prob((x,), {}, c)), in_order(prior.log_prob((x,), {}, c + 1))]
    found = torch.cat(rows)
    assert (torch.cdist(found, found) + torch.eye(5) > 1e-3).all()


@pytest.mark.parametrize("grid", [(6, 6), (1, 1), (2, 3)])
def test_a_context_of_another_grid_is_brought_to_the_levels(make: Make, grid: tuple[int, int]) -> None:
    prior, x = small(make), symbols()
    constant = torch.randn(2, 2, 1, 1)
    nats = prior.log_prob((x,), SIDE, constant.expand(2, 2, *grid))[0]
    torch.testing.assert_close(nats, prior.log_prob((x,), SIDE, constant.expand(2, 2, 3, 3))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [MEMBERS["pixelcnn"], MEMBERS["wavenet"]], ids=["pixelcnn", "wavenet"])
def test_the_grid_may_be_any_and_larger_than_in_training(make: Make) -> None:
    prior, x, c = small(make), torch.randint(3, (2, 3, 2, 7)), torch.randn(2, 2, 2, 7)
    torch.testing.assert_close(prior.log_prob((x,), SIDE, c), score(prior, (x,), SIDE, c), atol=1e-4, rtol=0)
    assert sample(prior, LAYOUTS[2]._replace(grids=((2, 7),)), 2, SIDE, context=c)[0].shape == x.shape


def test_with_attention_the_grid_is_that_of_training() -> None:
    prior, x, c = small(MEMBERS["pixelsnail"]), torch.randint(3, (2, 3, 2, 7)), torch.randn(2, 2, 2, 7)
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(prior, LAYOUTS[2]._replace(grids=((2, 7),)), 2, SIDE, context=c)
    with pytest.raises(ValueError, match="give int64 indices"):
        prior.log_prob((x,), SIDE, c)


def test_labels_and_outputs_are_dropped_in_training_only(make: Make) -> None:
    x, c = symbols(batch=24), context(batch=24)
    side = {"label": torch.arange(3).repeat(8)}
    for changes in ({"label_dropout": 0.5}, {"dropout": 0.3, "label_dropout": 0.0}):
        prior = small(make, **changes).train()
        assert len({float(prior.loss((x,), side, c).detach()) for _ in range(3)}) > 1
        first, again = (prior.log_prob((x,), side, c)[0] for _ in range(2))
        assert torch.equal(first, again)
        assert len({float(prior.eval().loss((x,), side, c).detach()) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layout": Layout(((2, 2), (4, 4)), ((3,), (3,)))}, "over one level, not 2"),
        ({"layout": Layout((), ())}, "at least one level"),
        ({"width": 0}, "width is 0"),
        ({"context_channels": -1}, "context_channels is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"label_dropout": -0.1}, "label_dropout is -0.1"),
        ({"label_dropout": 1.1}, "label_dropout is 1.1"),
    ],
)
def test_it_refuses_what_cannot_be_built(make: Make, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(**{"layout": LAYOUTS[2], "width": 12, **changes})


@pytest.mark.parametrize(
    ("side", "given", "says"),
    [
        ({}, context(), "conditional on a label"),
        ({"label": torch.tensor([1, 3])}, context(), "labels from 0 to 2"),
        (SIDE, None, "the context is None"),
        (SIDE, torch.zeros(2, 3, 3, 3), r"one of \[2, 2\]"),
        (SIDE, torch.zeros(1, 2, 3, 3), r"one of \[2, 2\]"),
        (SIDE, torch.zeros(2, 2, 9), "2 grid dimensions"),
    ],
)
def test_it_refuses_a_wrong_label_or_context(make: Make, side: Side, given: Tensor | None, says: str) -> None:
    prior = small(make, label_dropout=0.0)
    for method in (prior.loss, prior.log_prob, lambda i, s, c: score(prior, i, s, c)):
        with pytest.raises(ValueError, match=says):
            method((symbols(),), side, given)


def test_it_refuses_a_context_that_it_was_not_made_for(make: Make) -> None:
    with pytest.raises(ValueError, match="takes no context; leave it out"):
        small(make, context_channels=0).log_prob((symbols(),), SIDE, context())


def test_it_learns_class_context_and_order_and_samples_them(make: Make) -> None:
    """The first codebook has class c and 3 - c in turn, the second says where the context is above zero."""
    torch.manual_seed(0)
    layout = Layout(((2, 4),), ((4, 2),), 4)
    label = torch.arange(4).repeat(8)
    turns = torch.stack([label, 3 - label], 1).repeat(1, 4).view(32, 2, 4)
    c = torch.randn(32, 1, 2, 4)
    x = torch.stack([turns, (c[:, 0] > 0).long()], 1)
    prior = make(layout, 16, context_channels=1, label_dropout=0.0)
    optimizer = torch.optim.AdamW(prior.parameters(), 1e-2)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            loss = prior.loss((x,), {"label": label}, c)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assert torch.equal(sample(prior, layout, 32, {"label": label}, context=c, choice=Choice(temperature=0))[0], x)

"""The transformer prior: what it may look at, what labels do, and that it learns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import Choice, Step, TransformerPrior, drive, sample, score
from vqkit.priors.inputs import flatten, unflatten
from vqkit.priors.nats import log_p
from vqkit.priors.order import AnnealedOrder
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((2,), (3,)), ((5, 3), (4,)), 3)
TOKENS = sum(LAYOUT.tokens)
PICTURES = Layout(((2, 2), (3, 4)), ((5,), (4, 3, 2)), 3)


def small(layout: Layout = LAYOUT, **changes: Any) -> TransformerPrior:
    torch.manual_seed(0)
    prior = TransformerPrior(layout, **{"width": 16, "depth": 2, "heads": 2, "codebook_layers": 1, **changes})
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return prior


def zeros(batch: int = 1) -> tuple[Tensor, ...]:
    return unflatten(torch.zeros(batch, TOKENS, dtype=torch.int64), LAYOUT)


def symbols(layout: Layout, batch: int = 2) -> Indices:
    return tuple(
        torch.stack([torch.randint(size, (batch, *grid)) for size in sizes], 1)
        for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True)
    )


def in_order(levels: Indices) -> Tensor:
    """[B, Q, *grid] of each level -> [B, T] in the order of the walk: cell by cell, codebook by codebook."""
    return torch.cat([level.flatten(2).transpose(1, 2).flatten(1) for level in levels], 1)


@pytest.mark.parametrize("changes", [{}, {"random_order_updates": 3}, {"codebook_layers": 2}])
def test_a_later_symbol_changes_no_earlier_probability(changes: dict[str, Any]) -> None:
    prior, side = small(**changes), {"label": torch.tensor([1])}
    before = in_order(prior.log_prob(zeros(), side))
    number = 0
    for level, (grid, sizes) in enumerate(zip(LAYOUT.grids, LAYOUT.codebook_sizes, strict=True)):
        for cell, q in itertools.product(range(*grid), range(len(sizes))):
            other = zeros()
            other[level][0, q, cell] = 1
            after = in_order(prior.log_prob(other, side))
            torch.testing.assert_close(after[:, :number], before[:, :number], atol=1e-6, rtol=0)
            assert (after[:, number:] != before[:, number:]).all()  # and every later one depends on it
            number += 1


def test_a_walk_goes_cell_by_cell_coarse_to_fine() -> None:
    found = []

    def choose(step: Step) -> Tensor:
        found.append((step.level, int(step.positions)))
        return torch.zeros(1, 1, dtype=torch.int64)

    drive(small().walk(LAYOUT, 1, {}), choose)
    assert found == [(0, 0), (0, 2), (0, 1), (0, 3), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("random_order_updates", [0, 3])
def test_log_prob_is_the_score_of_the_walk_with_a_context(random_order_updates: int) -> None:
    prior = small(PICTURES, context_channels=2, random_order_updates=random_order_updates).eval()
    x, c, side = symbols(PICTURES), torch.randn(2, 2, 3, 4), {"label": torch.tensor([1, 2])}
    nats = prior.log_prob(x, side, c)
    for fast, slow in zip(nats, score(prior, x, side, c), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)
    alone = prior.log_prob(tuple(level[1:] for level in x), {"label": torch.tensor([2])}, c[1:])
    torch.testing.assert_close(in_order(nats)[1:], in_order(alone), atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):  # whatever the caller trains in
        torch.testing.assert_close(in_order(score(prior, x, side, c)), in_order(nats), atol=1e-4, rtol=0)
        assert torch.equal(in_order(prior.log_prob(x, side, c)), in_order(nats))


def test_a_context_says_something_of_its_own_place_and_through_it_of_all_after() -> None:
    prior = small(PICTURES, context_channels=1).eval()
    x, c = symbols(PICTURES, 1), torch.zeros(1, 1, 3, 4)
    before = prior.log_prob(x, {}, c)
    c[0, 0, 1, 1] = 1.0
    after = prior.log_prob(x, {}, c)
    same = (before[1] == after[1])[0].flatten(1).all(0)  # the fine level's cells, each its three codebooks
    assert not same.any()  # by way of the coarse level, which sees it from its first cell on
    coarse = small(Layout(((3, 4),), ((5,),)), context_channels=1).eval()
    nats = [coarse.log_prob((x[1][:, :1],), {}, given)[0].flatten() for given in (c, torch.zeros_like(c))]
    assert (nats[0] != nats[1]).tolist() == [False] * 5 + [True] * 7


@pytest.mark.parametrize("grid", [(6, 6), (1, 1), (2, 3)])
def test_a_context_of_another_grid_is_brought_to_each_level(grid: tuple[int, int]) -> None:
    prior, x, constant = small(PICTURES, context_channels=2), symbols(PICTURES), torch.randn(2, 2, 1, 1)
    nats = [prior.log_prob(x, {}, constant.expand(2, 2, *of)) for of in (grid, (3, 4))]
    torch.testing.assert_close(nats[0], nats[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("random_order_updates", [0, 3])
def test_every_parameter_is_trained(random_order_updates: int) -> None:
    prior = small(PICTURES, context_channels=2, random_order_updates=random_order_updates)
    prior.loss(symbols(PICTURES, 8), {"label": torch.arange(8) % 3}, torch.randn(8, 2, 3, 4)).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_the_order_is_annealed_from_random_to_raster_and_its_state_is_kept() -> None:
    prior, shares = small(random_order_updates=6, label_dropout=0.0).train(), []
    assert prior.order is not None
    for _ in range(8):
        shares.append(float(prior.order.share))
        prior.update()
    assert shares == pytest.approx([1, 1, 1, 1, 1, 0.5, 0, 0])
    assert int(prior.state_dict()["order.done"]) == 8
    x, side = symbols(LAYOUT, 4), {"label": torch.zeros(4, dtype=torch.int64)}
    assert prior.loss(x, side) == prior.eval().loss(x, side)  # it is over
    again = small(random_order_updates=6, label_dropout=0.0).train()
    torch.manual_seed(1)
    first = again.loss(x, side)
    assert first != again.loss(x, side) and first != again.eval().loss(x, side)
    torch.manual_seed(1)
    assert first == again.train().loss(x, side)


def test_a_random_order_is_within_the_levels_of_each_sample() -> None:
    orders = AnnealedOrder(PICTURES, 1000)
    order = orders(64)
    assert torch.equal(order.sort(1)[0], torch.arange(16).expand(64, -1))
    assert torch.equal(order[:, :4].sort(1)[0], torch.arange(4).expand(64, -1))
    assert len(order.unique(dim=0)) == 64
    orders.done.fill_(1000 * 5 // 6)
    in_raster = (orders(400) == torch.arange(16)).all(1).float().mean()
    assert 0.4 < float(in_raster) < 0.6


@torch.no_grad()
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_in_any_order_probabilities_sum_to_one_and_are_told_their_places(order: list[int]) -> None:
    """All 64 outcomes of three cells of two codebooks."""
    layout = Layout(((3,),), ((2, 2),))
    prior = small(layout, random_order_updates=3)
    outcomes = torch.cartesian_prod(*[torch.arange(2)] * 6).view(-1, 2, 3)
    places, classes = torch.tensor([order]).expand(64, -1), torch.zeros(64, dtype=torch.int64)
    assert prior.order is not None
    prior.order.forward = lambda batch: places  # type: ignore[method-assign]
    nats = log_p(prior.conditionals((outcomes,), classes, None, training=True))
    assert float(nats.sum(1).exp().sum()) == pytest.approx(1, abs=1e-5)
    in_raster = log_p(prior.conditionals((outcomes,), classes, None, training=False))
    assert torch.allclose(nats, in_raster) == (order == [0, 1, 2])
    first = log_p(prior.conditionals((outcomes[..., order],), classes, None, training=False))
    assert torch.allclose(nats, first) == (order == [0, 1, 2])  # it matters where the symbols stand


def test_it_starts_out_uniform() -> None:
    prior = TransformerPrior(LAYOUT, width=16, depth=1, heads=2)
    p = [level.exp() for level in prior.log_prob(zeros(), {})]
    torch.testing.assert_close(p[0][0], torch.tensor([[1 / 5] * 2, [1 / 3] * 2]))
    torch.testing.assert_close(p[1][0], torch.full((1, 3), 1 / 4))


def test_a_label_changes_the_distribution() -> None:
    prior = small()
    nats = flatten(prior.log_prob(zeros(3), {"label": torch.arange(3)}))
    without = flatten(prior.log_prob(zeros(), {}))
    rows = torch.cat([nats, without])
    assert (torch.cdist(rows, rows) + torch.eye(4) > 1e-3).all()


def test_labels_are_dropped_in_training_only() -> None:
    prior, side = small(label_dropout=0.5), {"label": torch.arange(3).repeat(8)}
    losses = {float(prior.train().loss(zeros(24), side).detach()) for _ in range(4)}
    assert len(losses) > 1
    assert len({float(prior.eval().loss(zeros(24), side).detach()) for _ in range(4)}) == 1
    first, again = (flatten(prior.train().log_prob(zeros(24), side)) for _ in range(2))
    assert torch.equal(first, again)


def test_outputs_are_dropped_in_training_only() -> None:
    prior, side = small(dropout=0.3, label_dropout=0.0), {"label": torch.tensor([0])}
    assert prior.train().loss(zeros(), side) != prior.loss(zeros(), side)
    assert torch.equal(flatten(prior.log_prob(zeros(), side)), flatten(prior.eval().log_prob(zeros(), side)))


@pytest.mark.parametrize(
    ("side", "says"),
    [
        ({}, "conditional on a label"),
        ({"label": torch.tensor([3])}, "labels from 0 to 2"),
        ({"label": torch.tensor([-1])}, "labels from 0 to 2"),
        ({"label": torch.tensor([0, 1])}, r"labels of \[1\]"),
        ({"label": torch.tensor([0.0])}, "int64"),
    ],
)
def test_it_refuses_wrong_labels(side: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small().loss(zeros(), side)
    prior = small(label_dropout=0.0)  # which never learned what no label means
    with pytest.raises(ValueError, match=says):
        prior.log_prob(zeros(), side)
    with pytest.raises(ValueError, match=says):
        sample(prior, LAYOUT, 1, side)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 0}, "at least one block"),
        ({"codebook_layers": 0}, "codebook_layers is 0"),
        ({"context_channels": -1}, "context_channels is -1"),
        ({"random_order_updates": -1}, "random_order_updates is -1"),
        ({"heads": 3}, "multiple of heads"),
        ({"heads": 16}, "wider heads"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"label_dropout": -0.1}, "label_dropout is -0.1"),
        ({"layout": Layout(((2, 2), (4,)), ((3,), (3,)))}, "same one to three dimensions"),
        ({"layout": Layout(((2, 2),), ((),))}, "at least one entry"),
        ({"layout": Layout((), ())}, "at least one level"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TransformerPrior(**{"layout": LAYOUT, "width": 16, "depth": 1, "heads": 2, **changes})


def test_it_refuses_a_context_and_other_grids() -> None:
    prior = small()
    with pytest.raises(ValueError, match="takes no context"):
        prior.log_prob(zeros(), {}, torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(prior, LAYOUT._replace(grids=((4,), (6,))), 1, {})


@pytest.mark.parametrize("given", [None, torch.zeros(2, 3, 3, 4), torch.zeros(1, 2, 3, 4), torch.zeros(2, 2, 12)])
def test_it_refuses_a_wrong_context(given: Tensor | None) -> None:
    prior = small(PICTURES, context_channels=2)
    for method in (prior.loss, prior.log_prob, lambda i, s, c: score(prior, i, s, c)):
        with pytest.raises(ValueError, match="the context is"):
            method(symbols(PICTURES), {"label": torch.tensor([0, 1])}, given)


def test_it_learns_what_each_class_looks_like_and_samples_it() -> None:
    """Class c is made of c and 3 - c in turn: the first symbol needs the label, the rest the one before it."""
    torch.manual_seed(0)
    layout = Layout(((2, 4),), ((4,),), 4)
    label = torch.arange(4)
    turns = torch.stack([label, 3 - label], 1).repeat(1, 4).view(4, 1, 2, 4)
    prior = TransformerPrior(layout, width=32, depth=1, heads=2, label_dropout=0.0)
    optimizer = torch.optim.AdamW(prior.parameters(), 3e-3)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            loss = prior.loss((turns,), {"label": label})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assert torch.equal(sample(prior, layout, 4, {"label": label}, choice=Choice(temperature=0))[0], turns)

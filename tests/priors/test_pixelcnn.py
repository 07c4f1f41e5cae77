"""PixelCNN: what it may look at, what label and context do, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import PixelCNN, sample, score
from vqkit.signal import Layout, Side

LAYOUTS = {
    1: Layout(((5,),), ((4,),), 3),
    2: Layout(((3, 3),), ((5, 3, 4),), 3),
    3: Layout(((2, 2, 2),), ((3, 4),), 3),
}
SIDE = {"label": torch.tensor([1, 2])}


def small(layout: Layout = LAYOUTS[2], **changes: Any) -> PixelCNN:
    torch.manual_seed(0)
    prior = PixelCNN(layout, **{"width": 12, "depth": 2, "heads": 2, "context_channels": 2, **changes})
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
@pytest.mark.parametrize("attention_every", [0, 1])
def test_a_later_symbol_changes_no_earlier_probability(dims: int, attention_every: int) -> None:
    layout = LAYOUTS[dims]
    prior, x, c = small(layout, depth=4, attention_every=attention_every), symbols(layout), context(layout)
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
@pytest.mark.parametrize("attention_every", [0, 2])
def test_log_prob_is_the_score_of_the_walk_with_a_context(dims: int, attention_every: int) -> None:
    layout = LAYOUTS[dims]
    prior, x, c = small(layout, attention_every=attention_every), symbols(layout), context(layout)
    (nats,) = prior.log_prob((x,), SIDE, c)
    torch.testing.assert_close(nats, score(prior, (x,), SIDE, c)[0], atol=1e-4, rtol=0)
    alone = prior.log_prob((x[1:],), {"label": SIDE["label"][1:]}, c[1:])[0]
    torch.testing.assert_close(nats[1:], alone, atol=1e-5, rtol=0)


def test_a_walk_yields_the_codebooks_of_a_position_in_turn() -> None:
    walk, found = small().walk(LAYOUTS[2], 2, SIDE, context()), []
    step = next(walk)
    while step is not None:
        found.append(int(step.positions))
        try:
            step = walk.send(torch.zeros(2, 1, dtype=torch.int64))
        except StopIteration:
            break
    assert found == [q * 9 + cell for cell in range(9) for q in range(3)]


def test_precision_is_float32_whatever_the_caller_trains_in() -> None:
    prior, x, c = small(), symbols(), context()
    nats = prior.log_prob((x,), SIDE, c)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.log_prob((x,), SIDE, c)[0], nats)
        torch.testing.assert_close(score(prior, (x,), SIDE, c)[0], nats, atol=1e-4, rtol=0)
        assert prior.loss((x,), SIDE, c).dtype == torch.float32


@pytest.mark.parametrize("dims", LAYOUTS)
def test_every_parameter_is_trained(dims: int) -> None:
    prior = small(LAYOUTS[dims], attention_every=1)
    prior.loss((symbols(LAYOUTS[dims]),), SIDE, context(LAYOUTS[dims])).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_it_starts_out_uniform() -> None:
    prior = PixelCNN(LAYOUTS[2], width=8, depth=1)
    nats = prior.log_prob((symbols(),), {})[0]
    torch.testing.assert_close(nats, -torch.tensor([5.0, 3, 4]).log().view(1, 3, 1, 1).expand_as(nats))


def test_label_and_context_change_the_distribution() -> None:
    prior, x, c = small(), symbols(batch=1), context(batch=1)
    rows = [in_order(prior.log_prob((x,), {"label": torch.tensor([label])}, c)) for label in range(3)]
    rows += [in_order(prior.log_prob((x,), {}, c)), in_order(prior.log_prob((x,), {}, c + 1))]
    found = torch.cat(rows)
    assert (torch.cdist(found, found) + torch.eye(5) > 1e-3).all()


@pytest.mark.parametrize("grid", [(6, 6), (1, 1), (2, 3)])
def test_a_context_of_another_grid_is_brought_to_the_levels(grid: tuple[int, int]) -> None:
    prior, x = small(), symbols()
    constant = torch.randn(2, 2, 1, 1)
    nats = prior.log_prob((x,), SIDE, constant.expand(2, 2, *grid))[0]
    torch.testing.assert_close(nats, prior.log_prob((x,), SIDE, constant.expand(2, 2, 3, 3))[0], atol=1e-5, rtol=0)


def test_the_grid_may_be_any_without_attention() -> None:
    x = torch.zeros(2, 3, 2, 6, dtype=torch.int64)
    prior, c = small(), torch.randn(2, 2, 2, 6)
    torch.testing.assert_close(prior.log_prob((x,), SIDE, c), score(prior, (x,), SIDE, c), atol=1e-4, rtol=0)
    other = LAYOUTS[2]._replace(grids=((2, 6),))
    assert sample(prior, other, 2, SIDE, context=c)[0].shape == x.shape
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(small(attention_every=1), other, 2, SIDE, context=c)
    with pytest.raises(ValueError, match="give int64 indices"):
        small(attention_every=1).log_prob((x,), SIDE, c)


def test_labels_and_outputs_are_dropped_in_training_only() -> None:
    x, c = symbols(batch=24), context(batch=24)
    side = {"label": torch.arange(3).repeat(8)}
    for changes in ({"label_dropout": 0.5}, {"dropout": 0.3, "label_dropout": 0.0}):
        prior = small(**changes).train()
        assert len({float(prior.loss((x,), side, c).detach()) for _ in range(3)}) > 1
        first, again = (prior.log_prob((x,), side, c)[0] for _ in range(2))
        assert torch.equal(first, again)
        assert len({float(prior.eval().loss((x,), side, c).detach()) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layout": Layout(((2, 2), (4, 4)), ((3,), (3,)))}, "over one level, not 2"),
        ({"layout": Layout((), ())}, "at least one level"),
        ({"depth": 0}, "depth is 0"),
        ({"kernel_size": 2}, "odd number"),
        ({"attention_every": 1, "heads": 5}, "multiple of heads"),
        ({"context_channels": -1}, "context_channels is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"label_dropout": -0.1}, "label_dropout is -0.1"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PixelCNN(**{"layout": LAYOUTS[2], "width": 12, "depth": 1, **changes})


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
def test_it_refuses_a_wrong_label_or_context(side: Side, given: Tensor | None, says: str) -> None:
    prior = small(label_dropout=0.0)
    for method in (prior.loss, prior.log_prob, lambda i, s, c: score(prior, i, s, c)):
        with pytest.raises(ValueError, match=says):
            method((symbols(),), side, given)


def test_it_refuses_a_context_that_it_was_not_made_for() -> None:
    with pytest.raises(ValueError, match="takes no context; leave it out"):
        small(context_channels=0).log_prob((symbols(),), SIDE, context())


@pytest.mark.parametrize("attention_every", [0, 1])
def test_it_learns_class_context_and_order_and_samples_them(attention_every: int) -> None:
    """The first codebook has class c and 3 - c in turn, the second says where the context is above zero."""
    torch.manual_seed(0)
    layout = Layout(((2, 4),), ((4, 2),), 4)
    label = torch.arange(4).repeat(8)
    turns = torch.stack([label, 3 - label], 1).repeat(1, 4).view(32, 2, 4)
    c = torch.randn(32, 1, 2, 4)
    x = torch.stack([turns, (c[:, 0] > 0).long()], 1)
    prior = PixelCNN(layout, 16, 2, attention_every=attention_every, context_channels=1, label_dropout=0.0)
    optimizer = torch.optim.AdamW(prior.parameters(), 1e-2)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            loss = prior.loss((x,), {"label": label}, c)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assert torch.equal(sample(prior, layout, 32, {"label": label}, context=c, temperature=0)[0], x)

"""The transformer prior: what it may look at, what labels do, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqkit.priors import TransformerPrior, sample
from vqkit.priors.inputs import flatten, unflatten
from vqkit.signal import Layout

LAYOUT = Layout(((2,), (3,)), ((5, 3), (4,)), 3)
TOKENS = sum(LAYOUT.tokens)


def small(**changes: Any) -> TransformerPrior:
    torch.manual_seed(0)
    prior = TransformerPrior(LAYOUT, **{"width": 16, "depth": 2, "heads": 2, **changes})
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return prior


def zeros(batch: int = 1) -> tuple[torch.Tensor, ...]:
    return unflatten(torch.zeros(batch, TOKENS, dtype=torch.int64), LAYOUT)


def test_a_later_symbol_changes_no_earlier_probability() -> None:
    prior, side = small(), {"label": torch.tensor([1])}
    before = flatten(prior.log_prob(zeros(), side))
    for t in range(TOKENS):
        tokens = torch.zeros(1, TOKENS, dtype=torch.int64)
        tokens[0, t] = 1
        after = flatten(prior.log_prob(unflatten(tokens, LAYOUT), side))
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=0)
        assert (after[:, t:] != before[:, t:]).all()  # and every later one depends on it


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
    assert torch.equal(sample(prior, layout, 4, {"label": label}, temperature=0)[0], turns)

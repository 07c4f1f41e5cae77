"""Next-scale prediction: what depends on what, how few steps a walk takes, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import Choice, NextScalePrior, Step, drive, sample, score
from vqkit.priors.inputs import flatten, unflatten
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((1, 1), (2, 2), (3, 4)), ((5,), (4, 3), (2, 6)), 3)
SIDE = {"label": torch.tensor([1, 2])}


def small(layout: Layout = LAYOUT, **changes: Any) -> NextScalePrior:
    torch.manual_seed(0)
    prior = NextScalePrior(layout, **{"width": 32, "depth": 2, "heads": 2, **changes})
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return prior.eval()


def symbols(batch: int = 2) -> Indices:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.stack([torch.randint(size, (batch, *grid), generator=generator) for size in sizes], 1)
        for grid, sizes in zip(LAYOUT.grids, LAYOUT.codebook_sizes, strict=True)
    )


def test_a_symbol_depends_on_all_coarser_ones_and_on_those_before_it_at_its_position() -> None:
    prior, indices = small(), symbols()
    before = prior.log_prob(indices, SIDE)
    for level, (grid, sizes) in enumerate(zip(LAYOUT.grids, LAYOUT.codebook_sizes, strict=True)):
        for cell in torch.ones(grid).nonzero().tolist():
            for q, size in enumerate(sizes):
                other = [each.clone() for each in indices]
                other[level][:, q, *cell] = (other[level][:, q, *cell] + 1) % size
                changed = [a != b for a, b in zip(prior.log_prob(tuple(other), SIDE), before, strict=True)]
                assert not any(bool(each.any()) for each in changed[:level])
                assert all(bool(each.all()) for each in changed[level + 1 :])
                there = torch.zeros_like(changed[level])
                there[:, q:, *cell] = True  # itself, and the codebooks behind it
                assert torch.equal(changed[level], there)


def test_a_walk_takes_one_step_a_level_and_codebook() -> None:
    found: list[tuple[int, list[int]]] = []

    def choose(step: Step) -> Tensor:
        found.append((step.level, step.positions[0].tolist()))
        return torch.zeros(2, step.positions.shape[1], dtype=torch.int64)

    drive(small().walk(LAYOUT, 2, SIDE), choose)
    assert found == [(0, [0])] + [(1, list(range(s, s + 4))) for s in (0, 4)] + [
        (2, list(range(s, s + 12))) for s in (0, 12)
    ]


def test_it_starts_out_uniform() -> None:
    prior = NextScalePrior(LAYOUT, width=16, depth=1, heads=2)
    for nats, sizes in zip(prior.log_prob(symbols(), {}), LAYOUT.codebook_sizes, strict=True):
        wanted = -torch.tensor(sizes).log().view(1, -1, 1, 1)
        torch.testing.assert_close(nats, wanted.expand_as(nats))


def test_a_label_changes_every_level() -> None:
    prior, indices = small(), symbols(1)
    told = [prior.log_prob(indices, {"label": torch.tensor([label])}) for label in range(3)]
    for nats in zip(*told, prior.log_prob(indices, {}), strict=True):
        rows = torch.cat([each.flatten(1) for each in nats])
        assert (torch.cdist(rows, rows) + torch.eye(4) > 1e-3).all()


def test_labels_and_outputs_are_dropped_in_training_only() -> None:
    indices, side = symbols(24), {"label": torch.arange(3).repeat(8)}
    for changes in ({"label_dropout": 0.5}, {"dropout": 0.3, "label_dropout": 0.0}):
        prior = small(**changes).train()
        assert len({float(prior.loss(indices, side).detach()) for _ in range(3)}) > 1
        first, again = (flatten(prior.log_prob(indices, side)) for _ in range(2))
        assert torch.equal(first, again)
        assert len({float(prior.eval().loss(indices, side).detach()) for _ in range(3)}) == 1


def test_precision_is_float32_whatever_the_caller_trains_in() -> None:
    prior, indices = small(), symbols()
    nats = prior.log_prob(indices, SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, prior.log_prob(indices, SIDE), nats))
        torch.testing.assert_close(score(prior, indices, SIDE), nats, atol=1e-4, rtol=0)
        assert prior.loss(indices, SIDE).dtype == torch.float32


def test_every_parameter_is_trained() -> None:
    prior = small()
    prior.loss(symbols(), SIDE).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 0}, "at least one block"),
        ({"heads": 3}, "multiple of heads"),
        ({"heads": 16}, "wider heads"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"label_dropout": -0.1}, "label_dropout is -0.1"),
        ({"layout": Layout(((2, 2), (4,)), ((3,), (3,)))}, "same one to three dimensions"),
        ({"layout": Layout((), ())}, "at least one level"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        NextScalePrior(**{"layout": LAYOUT, "width": 16, "depth": 1, "heads": 2, **changes})


def test_it_refuses_a_missing_label_a_context_and_other_grids() -> None:
    indices, context = symbols(), torch.zeros(2, 1, 3, 4)
    prior = small(label_dropout=0.0)  # which never learned what no label means
    for method in (prior.loss, prior.log_prob, lambda i, s, c=None: score(prior, i, s, c)):
        with pytest.raises(ValueError, match="conditional on a label"):
            method(indices, {})
        with pytest.raises(ValueError, match="takes no context"):
            method(indices, SIDE, context)
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(prior, LAYOUT._replace(grids=((1, 1), (2, 2), (4, 4))), 2, SIDE)


def test_it_learns_the_class_of_the_first_scale_and_each_scale_from_the_one_before() -> None:
    """Below a class c, position i is c + i modulo 4, and the second codebook says its parity."""
    torch.manual_seed(0)
    layout = Layout(((1, 1), (2, 2)), ((4,), (4, 2)), 4)
    label = torch.arange(4)
    quarters = (label[:, None] + torch.arange(4)).remainder(4)
    tokens = torch.cat([label[:, None], quarters, quarters % 2], 1)
    indices = unflatten(tokens, layout)
    prior = NextScalePrior(layout, width=32, depth=1, heads=2, label_dropout=0.0)
    optimizer = torch.optim.AdamW(prior.parameters(), 3e-3)
    for _ in range(80):
        with torch.autocast("cpu", torch.bfloat16):
            loss = prior.loss(indices, {"label": label})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    drawn = sample(prior, layout, 4, {"label": label}, choice=Choice(temperature=0))
    assert all(map(torch.equal, drawn, indices))

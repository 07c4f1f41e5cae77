"""A stack of priors: which level knows of which, what it takes and refuses, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import Choice, PixelCNN, Prior, Stack, UnigramPrior, sample, score
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((2, 2), (3, 4), (4, 4)), ((5, 2), (6,), (3,)), 3)
SIDE = {"label": torch.tensor([1, 2])}


def pixelcnn(context_channels: int, **changes: Any) -> Callable[[Layout], Prior]:
    return partial(PixelCNN, **{"width": 8, "depth": 2, "context_channels": context_channels, "heads": 2, **changes})


def small(layout: Layout = LAYOUT, context_channels: int = 0, **changes: Any) -> Stack:
    torch.manual_seed(0)
    priors = [pixelcnn(3 if level or context_channels else 0, **changes) for level in range(len(layout.grids))]
    stack = Stack(layout, priors, 8, 1, context_channels)
    for parameter in stack.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return stack.eval()


def symbols(layout: Layout = LAYOUT, batch: int = 2, seed: int = 0) -> Indices:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.stack([torch.randint(size, (batch, *grid), generator=generator) for size in sizes], 1)
        for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True)
    )


@pytest.mark.parametrize("changed", range(3))
def test_a_level_changes_the_finer_ones_and_no_coarser_one(changed: int) -> None:
    stack, indices = small(), symbols()
    other = list(indices)
    other[changed] = symbols(seed=1)[changed]
    before, after = stack.log_prob(indices, SIDE), stack.log_prob(tuple(other), SIDE)
    for level, (old, new) in enumerate(zip(before, after, strict=True)):
        if level < changed:
            assert torch.equal(old, new)
        elif level > changed:
            assert (old != new).all()


def test_parts_of_a_level_are_like_levels() -> None:
    """The same priors, over two stages of two codebooks and over two levels of two."""
    torch.manual_seed(0)
    grid, books = (3, 4), ((5, 2), (3, 3))
    stages, levels = Layout((grid,), ((*books[0], *books[1]),), 3), Layout((grid, grid), books, 3)
    ours = Stack(stages, [pixelcnn(0), pixelcnn(3)], 8, 1).eval()
    for parameter in ours.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    theirs = Stack(levels, [pixelcnn(0), pixelcnn(3)], 8, 1).eval()
    theirs.load_state_dict(ours.state_dict())
    apart = symbols(levels)
    together = (torch.cat(apart, 1),)
    for one, other in (
        (ours.log_prob(together, SIDE), theirs.log_prob(apart, SIDE)),
        (score(ours, together, SIDE), score(theirs, apart, SIDE)),
    ):
        assert torch.equal(one[0], torch.cat(other, 1))
    (found,), (coarse, fine) = ours.log_conditionals(together, SIDE), theirs.log_conditionals(apart, SIDE)
    assert torch.equal(found[:, :2], coarse) and torch.equal(found[:, 2:, :3], fine)
    assert bool((found[:, 2:, 3:] == -torch.inf).all())
    assert torch.equal(ours.loss(together, SIDE), theirs.loss(apart, SIDE))


def test_every_coarse_symbol_is_told_where_it_is() -> None:
    """Without layers to spread it, what changes is the context of exactly the positions over a changed symbol."""
    layout = Layout(((2, 2), (4, 4)), ((5, 2), (3,)))
    stack = Stack(layout, [pixelcnn(0), pixelcnn(3)], 8, residual_layers=0)
    coarse = symbols(layout)[0]
    before = stack.contexts[1]((coarse,), None, 2, (4, 4))
    for cell in torch.ones(2, 2).nonzero().tolist():
        for codebook, size in enumerate(layout.codebook_sizes[0]):
            other = coarse.clone()
            other[:, codebook, *cell] = (other[:, codebook, *cell] + 1) % size
            changed = (stack.contexts[1]((other,), None, 2, (4, 4)) != before).any(1)
            there = torch.zeros(4, 4, dtype=torch.bool).view(2, 2, 2, 2)
            there[cell[0], :, cell[1]] = True
            assert torch.equal(changed, there.view(1, 4, 4).expand_as(changed))


def test_an_outer_context_is_handed_to_every_level() -> None:
    stack, indices, context = small(context_channels=2), symbols(), torch.randn(2, 2, 3, 3)
    before, after = (stack.log_prob(indices, SIDE, c) for c in (context, context + 1))
    assert all((old != new).all() for old, new in zip(before, after, strict=True))
    for fast, slow in zip(before, score(stack, indices, SIDE, context), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)
    for wrong in (None, context[:1], context[:, :1]):
        for method in (stack.loss, stack.log_prob, lambda i, s, c: score(stack, i, s, c)):
            with pytest.raises(ValueError, match="the context is"):
                method(indices, SIDE, wrong)
    with pytest.raises(ValueError, match="takes no context"):
        small().log_prob(indices, SIDE, context)


def test_the_grids_may_be_any_where_every_prior_allows_it() -> None:
    other = LAYOUT._replace(grids=((1, 3), (5, 2), (4, 6)))
    stack, indices = small(), symbols(other)
    for fast, slow in zip(stack.log_prob(indices, SIDE), score(stack, indices, SIDE), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)
    drawn = sample(stack, other, 2, SIDE)
    assert [level.shape for level in drawn] == [level.shape for level in indices]
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(small(attention_every=1), other, 2, SIDE)


def test_precision_is_float32_whatever_the_caller_trains_in() -> None:
    stack, indices = small(context_channels=2), symbols()
    context = torch.randn(2, 2, 3, 3)
    nats = stack.log_prob(indices, SIDE, context)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, stack.log_prob(indices, SIDE, context), nats))
        for walked, fast in zip(score(stack, indices, SIDE, context), nats, strict=True):
            torch.testing.assert_close(walked, fast, atol=1e-4, rtol=0)
        assert stack.loss(indices, SIDE, context).dtype == torch.float32


@pytest.mark.parametrize("context_channels", [0, 2])
def test_every_parameter_is_trained(context_channels: int) -> None:
    stack = small(context_channels=context_channels, attention_every=1)
    stack.loss(symbols(), SIDE, torch.randn(2, 2, 3, 3) if context_channels else None).backward()
    for name, parameter in stack.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_first_prior_in_closed_form_is_fitted_and_the_others_are_not() -> None:
    layout = LAYOUT._replace(grids=LAYOUT.grids[:2], codebook_sizes=LAYOUT.codebook_sizes[:2])
    indices = symbols(layout, 50)
    stack, alone = Stack(layout, [UnigramPrior, pixelcnn(2)]), Stack(_first(layout), [UnigramPrior])
    assert not stack.fit(iter([(indices, {})])) and alone.fit(iter([(indices[:1], {})]))
    wanted = UnigramPrior(_first(layout))
    wanted.fit([(indices[:1], {})])
    for each in (stack.log_prob(indices, {})[0], *alone.log_prob(indices[:1], {})):
        assert torch.equal(each, wanted.log_prob(indices[:1], {})[0])


def _first(layout: Layout) -> Layout:
    return layout._replace(grids=layout.grids[:1], codebook_sizes=layout.codebook_sizes[:1])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"priors": [pixelcnn(0), pixelcnn(2)]}, "there are 2 priors for 3 levels; give one a level"),
        ({"priors": [pixelcnn(0), pixelcnn(2), UnigramPrior]}, "prior 2, a UnigramPrior without.*context_channels"),
        ({"priors": [pixelcnn(0), pixelcnn(0), pixelcnn(2)]}, "prior 1, a PixelCNN without.*set its context_channels"),
        ({"priors": [pixelcnn(2)] * 3}, "prior 0, a PixelCNN, takes a context.*leave its context_channels out"),
        ({"context_channels": 1}, "prior 0, a PixelCNN without a context"),
        ({"context_channels": -1, "priors": [pixelcnn(2)] * 3}, "context_channels is -1"),
        ({"priors": [UnigramPrior(_first(LAYOUT)._replace(classes=0)), *[pixelcnn(2)] * 2]}, "prior 0 is over .* make"),
        (
            {"layout": LAYOUT._replace(grids=((2, 2),), codebook_sizes=((5, 2, 3),)), "priors": [pixelcnn(0)] * 2},
            "there are 2 priors for 1 levels; .* as many as divide its 3 codebooks",
        ),
        ({"priors": []}, "there are 0 priors"),
        ({"width": 0}, "width is 0"),
        ({"residual_layers": -1}, "residual_layers is -1"),
        ({"layout": Layout((), ())}, "at least one level"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stack(**{"layout": LAYOUT, "priors": [pixelcnn(0), pixelcnn(2), pixelcnn(2)], **changes})


def test_it_learns_the_class_from_the_top_and_the_rest_from_above() -> None:
    """The top is made of class c and 3 - c in turn; each of the four symbols below one is that one's parity."""
    torch.manual_seed(0)
    layout = Layout(((1, 2), (2, 4)), ((4,), (2,)), 4)
    label = torch.arange(4).repeat(4)
    top = torch.stack([label, 3 - label], 1).view(16, 1, 1, 2)
    indices = top, (top % 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    changes = {"width": 16, "depth": 1, "label_dropout": 0.0}
    stack = Stack(layout, [pixelcnn(0, **changes), pixelcnn(4, **changes)], 8, 0)
    optimizer = torch.optim.AdamW(stack.parameters(), 1e-2)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            loss = stack.loss(indices, {"label": label})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    drawn: tuple[Tensor, ...] = sample(stack, layout, 16, {"label": label}, choice=Choice(temperature=0))
    assert all(map(torch.equal, drawn, indices))

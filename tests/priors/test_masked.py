"""The masked transformer: which symbols its walk fills when, what it is trained on, and that it learns."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.priors import Choice, MaskedTransformerPrior, Step, draw_then_discard, drive, sample
from vqkit.priors.inputs import flatten, unflatten
from vqkit.priors.masking import fill_counts, fixed_gumbel
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((2,), (3,)), ((5, 3), (4,)), 3)
TOKENS = sum(LAYOUT.tokens)


def small(layout: Layout = LAYOUT, **changes: Any) -> MaskedTransformerPrior:
    torch.manual_seed(0)
    settings = {"width": 16, "depth": 1, "joint_depth": 1, "heads": 2, "steps": 3, **changes}
    prior = MaskedTransformerPrior(layout, **settings)
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return prior.eval()


def random_indices(layout: Layout, batch: int) -> Indices:
    sizes = torch.tensor(
        [
            size
            for grid, level in zip(layout.grids, layout.codebook_sizes, strict=True)
            for size in level
            for _ in range(math.prod(grid))
        ]
    )
    return unflatten((torch.rand(batch, len(sizes)) * sizes).long(), layout)


def walked(prior: MaskedTransformerPrior, indices: Indices, known: Indices | None = None, **named: Any) -> list[Step]:
    """The steps of the walk that is sent `indices`."""
    found: list[Step] = []

    def choose(step: Step) -> Tensor:
        found.append(step)
        return indices[step.level].flatten(1).gather(1, step.positions)

    drive(prior.walk(prior.layout, len(indices[0]), {}, known=known, **named), choose)
    return found


@pytest.mark.parametrize(("n", "steps"), [(1, 8), (2, 8), (5, 3), (64, 8), (64, 1), (64, 64), (256, 12), (7, 100)])
def test_the_cosine_schedule_fills_all_in_no_more_steps_than_asked_and_ever_more_a_step(n: int, steps: int) -> None:
    counts = fill_counts(n, steps)
    assert sum(counts) == n and min(counts) >= 1 and len(counts) <= steps
    assert sum(counts[: len(counts) // 2]) <= n / 2 + 1
    if n >= 8 * steps:
        assert len(counts) == steps


def test_the_counts_are_those_of_the_paper_by_hand() -> None:
    assert fill_counts(64, 2) == [19, 45]  # 64 cos(pi / 4) = 45.25
    assert fill_counts(64, 3) == [9, 23, 32]  # 64 cos(pi / 3) = 32, whatever cos rounds to
    assert fill_counts(16, 4) == [2, 3, 5, 6]  # 16, 14.78, 11.31, 6.12, 0
    assert fill_counts(0, 4) == []


def test_the_walk_takes_its_steps_in_every_level() -> None:
    layout = Layout(((4, 4), (2, 4, 4)[1:]), ((6,), (6, 6)))
    steps = walked(small(layout, steps=4), random_indices(layout, 2))
    assert [step.level for step in steps] == [0] * 4 + [1] * 4
    assert [step.positions.shape[1] for step in steps] == fill_counts(16, 4) + fill_counts(32, 4)


def test_positions_are_chosen_by_entropy_before_their_symbols_are_drawn() -> None:
    layout = Layout(((4, 4),), ((9,),))
    prior, indices = small(layout, choice_temperature=0), random_indices(layout, 3)
    steps = walked(prior, indices)
    everywhere = walked(small(layout, steps=1), indices)[0]  # the same net, asked for all positions at once
    nats = torch.special.entr(everywhere.logits.softmax(-1)).sum(-1)
    nats = torch.empty_like(nats).scatter_(1, everywhere.positions, nats)
    first = steps[0].positions
    for sample_nats, chosen in zip(nats, first, strict=True):
        assert set(sample_nats.argsort()[: len(chosen)].tolist()) == set(chosen.tolist())
    others = walked(prior, tuple((level + 1) % 9 for level in indices))
    assert torch.equal(others[0].positions, first)  # before any symbol is sent, there is nothing to tell them apart
    assert not all(torch.equal(a.positions, b.positions) for a, b in zip(steps, others, strict=True))


def test_the_noise_of_the_choice_is_a_function_of_step_and_position_alone() -> None:
    before = fixed_gumbel(2, 10)
    torch.manual_seed(123)
    assert torch.equal(fixed_gumbel(2, 10), before) and not torch.equal(fixed_gumbel(3, 10), before)
    layout = Layout(((4, 4),), ((9,),))
    indices = random_indices(layout, 5)
    prior = small(layout, choice_temperature=3.0)
    together = walked(prior, indices)
    for number in range(5):
        alone = walked(prior, tuple(level[number : number + 1] for level in indices))
        for one, many in zip(alone, together, strict=True):
            assert torch.equal(one.positions[0], many.positions[number])
            torch.testing.assert_close(one.logits[0], many.logits[number], atol=1e-5, rtol=0)
    calm = walked(small(layout, choice_temperature=0), indices)
    assert not all(torch.equal(a.positions, b.positions) for a, b in zip(calm, together, strict=True))


def test_of_equal_entropies_the_first_positions_are_taken() -> None:
    layout = Layout(((6,),), ((4,),))
    prior = MaskedTransformerPrior(layout, width=16, depth=1, joint_depth=1, heads=2, steps=3, choice_temperature=0)
    assert (
        torch.cat([step.positions for step in walked(prior, random_indices(layout, 2))], 1).tolist()
        == [[*range(6)]] * 2
    )


def test_what_is_known_on_both_sides_conditions_a_gap_and_finer_levels_do_not() -> None:
    """One position left: its logits are the net's, of all that stands in its own and the coarser levels."""
    prior, indices = small(), random_indices(LAYOUT, 2)
    tokens = flatten(indices)
    ends = torch.tensor(LAYOUT.tokens).cumsum(0).tolist()
    for t in range(TOKENS):
        gap = torch.arange(TOKENS) == t
        known = unflatten(tokens.masked_fill(gap, -1), LAYOUT)
        ((step),) = walked(prior, indices, known)
        level = 0 if t < ends[0] else 1
        others = torch.tensor([[s for s in range(ends[level]) if s != t] + [t]]).expand(2, -1)
        expected = prior.net(level, tokens, others, 1, torch.full((2,), LAYOUT.classes), None)
        inside = step.logits > -torch.inf
        torch.testing.assert_close(step.logits[inside], expected[inside], atol=1e-5, rtol=0)
        for s in range(TOKENS):
            changed = tokens.clone()
            changed[:, s] = (tokens[:, s] + 1) % 3
            again = walked(prior, indices, unflatten(changed.masked_fill(gap, -1), LAYOUT))[0].logits
            same = torch.equal(again, step.logits)
            assert same == (s == t or s >= ends[level])


def test_samples_of_a_class_that_are_one_as_long_as_nothing_is_known_get_what_each_got_alone() -> None:
    prior, indices, label = small(), random_indices(LAYOUT, 4), torch.tensor([2, 0, 2, 1])
    together = flatten(prior.log_prob(indices, {"label": label}))
    for number in range(4):
        one = slice(number, number + 1)
        alone = prior.log_prob(tuple(level[one] for level in indices), {"label": label[one]})
        torch.testing.assert_close(together[one], flatten(alone), atol=1e-5, rtol=0)


def test_positions_of_a_step_come_in_their_own_order() -> None:
    layout = Layout(((4, 4),), ((9,),))
    for step in walked(small(layout), random_indices(layout, 3)):
        assert bool((step.positions.diff(dim=1) > 0).all())


def test_the_order_in_which_symbols_are_handed_over_changes_nothing() -> None:
    """Each keeps its place, its symbol and its context; of each sample its own order."""
    prior, tokens = small(context_channels=2), flatten(random_indices(LAYOUT, 2))
    condition, classes = prior.net.said(torch.randn(2, 2, 3), 2), torch.tensor([0, 2])
    order = torch.tensor([[0, 3, 1, 4, 2, 5, 6], [6, 1, 0, 2, 3, 4, 5]])
    shuffled = order[:, [2, 0, 1, 3, 6, 5, 4]]
    logits = prior.net(1, tokens, order, 3, classes, condition)
    again = prior.net(1, tokens, shuffled, 3, classes, condition)
    torch.testing.assert_close(again, logits.flip(1), atol=1e-5, rtol=0)
    alone = prior.net(1, tokens[1:], order[1:], 3, classes[1:], condition[1:])
    torch.testing.assert_close(alone, logits[1:], atol=1e-5, rtol=0)
    moved = order.clone()
    moved[:, -1] = order[:, -2]  # two masks at one place are one mask
    twice = prior.net(1, tokens, moved, 3, classes, condition)
    torch.testing.assert_close(twice[:, 1], twice[:, 2], atol=1e-5, rtol=0)
    assert not torch.allclose(logits[:, 1], logits[:, 2], atol=1e-2)


def test_a_masked_symbol_gives_nothing_away() -> None:
    prior, indices = small(), random_indices(LAYOUT, 2)
    tokens = flatten(indices)
    order = torch.tensor([[0, 2, 1, 3]]).expand(2, -1)
    classes = torch.zeros(2, dtype=torch.int64)
    logits = prior.net(0, tokens, order, 2, classes, None)
    tokens[:, [1, 3]] = 0
    assert torch.equal(prior.net(0, tokens, order, 2, classes, None), logits)


def test_the_expected_loss_is_the_mean_nats_over_its_masks() -> None:
    """All masks of three symbols, weighed by how often n = ceil(3 cos(pi/2 u)) of them are masked."""
    layout = Layout(((3,),), ((4,),))
    prior, indices = small(layout), random_indices(layout, 2)
    tokens, expected = flatten(indices), 0.0
    edges = [2 / math.pi * math.acos(n / 3) for n in range(4)]  # u at which n are masked: falls from 1 to 0
    for n in (1, 2, 3):
        for masked in combinations(range(3), n):
            order = torch.tensor([[t for t in range(3) if t not in masked] + list(masked)]).expand(2, -1)
            logits = prior.net(0, tokens, order, n, torch.zeros(2, dtype=torch.int64), None)
            nats = -logits.log_softmax(-1).gather(-1, tokens[:, list(masked), None]).mean()
            expected += (edges[n - 1] - edges[n]) / math.comb(3, n) * float(nats.detach())
    with torch.no_grad():
        losses = torch.stack([prior.loss(indices, {}) for _ in range(1000)])
    assert float(losses.mean()) == pytest.approx(expected, abs=4 * float(losses.std()) / 1000**0.5)


def test_every_parameter_learns() -> None:
    prior = small(context_channels=2).train()
    prior.loss(random_indices(LAYOUT, 8), {"label": torch.arange(8) % 3}, torch.randn(8, 2, 5)).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_a_context_and_a_label_change_the_distribution() -> None:
    prior, indices = small(context_channels=2), tuple(level.expand(3, -1, -1) for level in random_indices(LAYOUT, 1))
    context = torch.randn(3, 2, 4)
    rows = [flatten(prior.log_prob(indices, {"label": torch.arange(3)}, context[:1].expand(3, -1, -1)))]
    rows.append(flatten(prior.log_prob(indices, {"label": torch.zeros(3, dtype=torch.int64)}, context))[1:])
    found = torch.cat(rows)
    assert (torch.cdist(found, found) + torch.eye(5) > 1e-3).all()
    with pytest.raises(ValueError, match="context"):
        prior.log_prob(indices, {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": -1}, "depth is -1"),
        ({"joint_depth": 0}, "joint_depth 0"),
        ({"steps": 0}, "at least one step"),
        ({"choice_temperature": -1.0}, "choice_temperature is -1.0"),
        ({"choice_temperature": math.nan}, "choice_temperature is nan"),
        ({"heads": 3}, "multiple of heads"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"context_channels": -1}, "context_channels is -1"),
        ({"layout": Layout((), ())}, "at least one level"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MaskedTransformerPrior(**{"layout": LAYOUT, "width": 16, "depth": 1, "heads": 2, **changes})


SEQUENCE = Layout(((2, 4),), ((4,),), 4)


@pytest.fixture(scope="module")
def trained() -> tuple[MaskedTransformerPrior, Tensor]:
    """Class c is made of c and 3 - c in turn, the first of the two by chance: one symbol says the rest."""
    torch.manual_seed(0)
    label = torch.arange(4).repeat(2)
    turns = torch.stack([label, 3 - label], 1).repeat(1, 4).view(8, 1, 2, 4)
    turns[4:] = 3 - turns[4:]
    prior = MaskedTransformerPrior(SEQUENCE, width=32, depth=1, joint_depth=1, heads=2, label_dropout=0.1)
    optimizer = torch.optim.AdamW(prior.parameters(), 3e-3)
    for _ in range(400):
        loss = prior.loss((turns.repeat(4, 1, 1, 1),), {"label": label.repeat(4)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior.eval(), turns


@torch.no_grad()
def test_it_learns_what_each_class_looks_like_in_the_bits_there_are(
    trained: tuple[MaskedTransformerPrior, Tensor],
) -> None:
    """Each class has two equally likely members: log 2 nats in all, of which most are the first symbol's."""
    prior, turns = trained
    nats = -prior.log_prob((turns,), {"label": torch.arange(4).repeat(2)})[0].flatten(1).sum(1)
    torch.testing.assert_close(nats, torch.full((8,), math.log(2)), atol=0.15, rtol=0)


@pytest.mark.parametrize("sampler", [sample, draw_then_discard])
def test_samples_are_the_members_of_their_class_as_often(
    trained: tuple[MaskedTransformerPrior, Tensor], sampler: Any
) -> None:
    prior, turns = trained
    label = torch.arange(4).repeat(250)
    drawn = sampler(prior, SEQUENCE, 1000, {"label": label}, generator=torch.Generator().manual_seed(0))[0]
    first, second = ((drawn == turns[start : start + 4].repeat(250, 1, 1, 1)).flatten(1).all(1) for start in (0, 4))
    assert float((first | second).float().mean()) > 0.94
    assert 0.4 < float(first.float().mean()) < 0.6


@pytest.mark.parametrize("sampler", [sample, draw_then_discard])
def test_editing_follows_what_is_kept_on_either_side(
    trained: tuple[MaskedTransformerPrior, Tensor], sampler: Any
) -> None:
    """The symbol at one end, whichever, says all others; without a label it has to be read off the two ends."""
    prior, turns = trained
    known = torch.full_like(turns, -1)
    known[:, :, 0, 0] = turns[:, :, 0, 0]
    known[:, :, 1, 3] = turns[:, :, 1, 3]
    assert torch.equal(sampler(prior, SEQUENCE, 8, {}, known=(known,), choice=Choice(temperature=0))[0], turns)
    last = torch.full_like(turns, -1)
    last[:, :, 1, 3] = turns[:, :, 1, 3]
    side = {"label": torch.arange(4).repeat(2)}
    assert torch.equal(sampler(prior, SEQUENCE, 8, side, known=(last,), choice=Choice(temperature=0))[0], turns)


def test_draw_then_discard_repeats_by_its_seed_and_refuses_what_sample_refuses() -> None:
    prior = small()
    first, again = (
        draw_then_discard(prior, LAYOUT, 3, {}, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert all(map(torch.equal, first, again))
    torch.manual_seed(1)
    after = []
    for _ in range(2):
        torch.manual_seed(7)
        after.append((*draw_then_discard(prior, LAYOUT, 3, {}), torch.rand(3)))
    assert all(map(torch.equal, *after)) and [x.shape for x in after[0][:-1]] == [level.shape for level in first]
    for changes, says in (
        ({"batch": 0}, "at least one sample"),
        ({"choice": Choice(temperature=-1)}, "temperature is -1"),
        ({"choice_temperature": -1}, "choice_temperature is -1"),
        ({"layout": LAYOUT._replace(grids=((4,), (6,)))}, "train one for the tokens"),
        ({"choice": Choice(guidance=2.0)}, "no label to guide to"),
    ):
        with pytest.raises(ValueError, match=says):
            draw_then_discard(**{"prior": prior, "layout": LAYOUT, "batch": 2, "side": {}, **changes})


def test_draw_then_discard_draws_likely_symbols_more_often_than_the_prior_says() -> None:
    """Why it is beside the walk and not in it: its choice looks at the draws."""
    layout = Layout(((6,),), ((2,),))
    prior = MaskedTransformerPrior(layout, width=16, depth=1, joint_depth=1, heads=2)
    prior.net.outputs[0].bias.data = torch.tensor([math.log(3.0), 0.0])  # p = 3/4 and 1/4, whatever is known
    walked, published = (
        float(sampler(prior, layout, 1500, {}, generator=torch.Generator().manual_seed(0))[0].float().mean())
        for sampler in (sample, draw_then_discard)
    )
    assert walked == pytest.approx(0.25, abs=0.02) and published < 0.22

from __future__ import annotations

import math

import pytest
import torch

from vqkit.evaluation import Rate
from vqkit.priors import UniformPrior, UnigramPrior
from vqkit.signal import Layout

LAYOUT = Layout(((2,),), ((4,),))
TRAIN = (torch.tensor([[[0, 0]], [[0, 1]]]),)
HELD_OUT = (torch.tensor([[[0, 1]], [[1, 3]], [[0, 0]]]),)


def unigram(smoothing: float = 1.0) -> UnigramPrior:
    prior = UnigramPrior(LAYOUT, smoothing)
    prior.fit([(TRAIN, {})])
    return prior


def test_rates_by_hand() -> None:
    p = [(3 + 1) / 8, (1 + 1) / 8, 1 / 8, 1 / 8]  # three zeros and a one, each code once more
    nats = -sum(math.log(p[symbol]) for symbol in (0, 1, 1, 3, 0, 0))
    rate = Rate(LAYOUT, unigram(), unigram())
    rate.add(tuple(level[:1] for level in HELD_OUT), {})
    rate.add(tuple(level[1:] for level in HELD_OUT), {})
    numbers, reasons = rate.measured()
    assert not reasons
    assert numbers == {
        "nominal_bits": 4.0,
        "estimated_bits": pytest.approx(nats / math.log(2) / 3),
        "nats_per_token": pytest.approx(nats / 6),
        "unigram_nats_per_token": pytest.approx(nats / 6),
        "uniform_nats_per_token": pytest.approx(math.log(4)),
    }


def test_without_a_prior_the_reason_is_said() -> None:
    rate = Rate(LAYOUT, None, unigram())
    rate.add(HELD_OUT, {})
    numbers, reasons = rate.measured()
    assert numbers["estimated_bits"] is None and numbers["nats_per_token"] is None
    assert set(reasons) == {"estimated_bits", "nats_per_token"}


def test_each_level_has_its_own_rate_and_they_make_up_the_whole() -> None:
    layout = Layout(((1, 2), (2, 2)), ((4,), (3, 5)))
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(4, (6, 1, 1, 2), generator=generator), torch.randint(3, (6, 2, 2, 2), generator=generator)
    unigram = UnigramPrior(layout)
    unigram.fit([(tuple(level[:3] for level in indices), {})])
    rate = Rate(layout, UniformPrior(layout), unigram)
    for rows in (slice(0, 2), slice(2, 6)):
        rate.add(tuple(level[rows] for level in indices), {})
    numbers, levels = rate.measured().numbers, rate.of_levels()
    assert levels["nats_per_token_of_levels"] == pytest.approx([math.log(4), (math.log(3) + math.log(5)) / 2])
    counted = levels["unigram_nats_per_token_of_levels"]
    assert counted == pytest.approx([-float(nats.mean()) for nats in unigram.log_prob(indices, {})])
    assert (2 * counted[0] + 8 * counted[1]) / 10 == pytest.approx(numbers["unigram_nats_per_token"])
    assert set(Rate(layout, None, unigram).of_levels()) == {"unigram_nats_per_token_of_levels"}


def test_a_level_of_impossible_tokens_has_no_rate_and_the_others_keep_theirs() -> None:
    layout = Layout(((2,), (2,)), ((4,), (4,)))
    unigram = UnigramPrior(layout, 1e-300)
    unigram.fit([((*TRAIN, *HELD_OUT), {})])
    rate = Rate(layout, None, unigram)
    rate.add((*HELD_OUT, *HELD_OUT), {})
    first, second = rate.of_levels()["unigram_nats_per_token_of_levels"]
    assert first is None and second is not None and second > 0


def test_an_impossible_token_is_a_reason_not_an_infinity() -> None:
    rate = Rate(LAYOUT, None, unigram(1e-300))
    rate.add(HELD_OUT, {})
    numbers, reasons = rate.measured()
    assert numbers["unigram_nats_per_token"] is None and "probability 0" in reasons["unigram_nats_per_token"]


@pytest.mark.parametrize("training", [True, False])
def test_the_prior_keeps_its_mode(training: bool) -> None:
    prior = unigram().train(training)
    Rate(LAYOUT, prior, unigram()).add(HELD_OUT, {})
    assert prior.training is training

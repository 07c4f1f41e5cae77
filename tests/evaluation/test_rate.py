from __future__ import annotations

import math

import pytest
import torch

from vqkit.evaluation import Rate
from vqkit.priors import UnigramPrior
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

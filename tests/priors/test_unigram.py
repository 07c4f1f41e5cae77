"""Priors of independent symbols against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vqkit.priors import UniformPrior, UnigramPrior, sample
from vqkit.signal import Layout

LAYOUT = Layout(((3,), (2,)), ((4, 2), (3,)))
INDICES = (torch.tensor([[[0, 0, 3], [1, 1, 1]]]), torch.tensor([[[2, 0]]]))


def test_uniform_costs_the_nominal_bits() -> None:
    nats = UniformPrior(LAYOUT).log_prob(INDICES, {})
    assert sum(float(level.sum()) for level in nats) / -math.log(2) == pytest.approx(LAYOUT.nominal_bits)


def test_unigram_is_uniform_before_it_has_counted() -> None:
    priors = UnigramPrior(LAYOUT), UniformPrior(LAYOUT)
    for blank, uniform in zip(*(prior.log_prob(INDICES, {}) for prior in priors), strict=True):
        torch.testing.assert_close(blank, uniform)


def test_unigram_counts_each_codebook_and_level() -> None:
    prior = UnigramPrior(LAYOUT, smoothing=0.5)
    for _ in range(2):  # the second fit forgets the first
        prior.fit([(INDICES, {}), (INDICES, {})])
    p = [level.exp() for level in prior.log_prob(INDICES, {})]
    torch.testing.assert_close(p[0][0, 0], torch.tensor([4.5, 4.5, 2.5]) / 8)
    torch.testing.assert_close(p[0][0, 1], torch.full((3,), 6.5 / 7))
    torch.testing.assert_close(p[1][0, 0], torch.tensor([2.5, 2.5]) / 5.5)


def test_other_grids_are_walked_too() -> None:
    wide = LAYOUT._replace(grids=((9,), (5_000,)))
    levels = sample(UnigramPrior(LAYOUT), wide, 2, {}, generator=torch.Generator().manual_seed(0))
    assert [tuple(level.shape) for level in levels] == [(2, 2, 9), (2, 1, 5_000)]
    counts = torch.bincount(levels[1].flatten(), minlength=3)
    assert (counts - 10_000 / 3).abs().max() < 200


def test_smoothing_keeps_every_symbol_possible() -> None:
    with pytest.raises(ValueError, match="above 0"):
        UnigramPrior(LAYOUT, smoothing=0)

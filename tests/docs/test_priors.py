"""What docs/concepts/priors.md states, from the stored results of the benchmarks and from walks."""

from __future__ import annotations

import pytest
from drawing import BENCHMARKS, HERE, stored
from priors import LAYOUT, SETS, cells, samplers, table, when

from vqkit.priors import MaskedTransformerPrior, PixelCNN

PAGE = (HERE / "priors.md").read_text()


@pytest.mark.parametrize("data", SETS)
def test_the_tables_are_what_is_stored(data: str) -> None:
    assert table(data) in PAGE and samplers() in PAGE


@pytest.mark.parametrize("data", SETS)
def test_each_learned_prior_is_below_the_unigram_by_a_fifth_at_least(data: str) -> None:
    found = cells(data)
    unigram = found.pop("unigram")
    assert len(found) == 5
    assert min(cell["validation"] for cell in found.values()) < 0.8 * unigram["validation"]


@pytest.mark.parametrize("data", SETS)
def test_they_are_alike_in_size_and_time(data: str) -> None:
    found = [cell for name, cell in cells(data).items() if name != "unigram"]
    assert all(9e5 < cell["parameters"] < 1.1e6 and 4.5 < cell["minutes"] < 6.5 for cell in found)


def test_the_figure_shows_the_orders_in_which_the_priors_go() -> None:
    raster = when(PixelCNN(LAYOUT, width=8, depth=1))
    assert raster.flatten().tolist() == list(range(1, 65))
    masked = when(MaskedTransformerPrior(LAYOUT, width=16, depth=1, heads=2)).flatten().bincount()[1:].tolist()
    assert len(masked) == 8 and sum(masked) == 64
    assert masked == sorted(masked)  # few at first


def test_every_judge_has_the_same_tokens_to_judge() -> None:
    rows = stored(BENCHMARKS / "masked_sampling.json")
    assert rows["settings"]["samples"] == 1000

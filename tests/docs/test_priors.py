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
def test_the_best_prior_is_below_the_unigram_by_a_fifth_and_every_one_by_15_per_cent(data: str) -> None:
    found = cells(data)
    unigram = found.pop("unigram")
    assert len(found) == 5
    nats = [cell["validation"] for cell in found.values()]
    assert min(nats) < 0.8 * unigram["validation"] and max(nats) < 0.85 * unigram["validation"]


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


def test_the_published_sampler_is_ahead_at_equal_total_variation_and_both_are_behind_held_out_tokens() -> None:
    rows = stored(BENCHMARKS / "masked_sampling.json")
    assert rows["settings"]["samples"] == 1000
    walk, cooler, published = (
        rows[f"{name}, 16 steps"] for name in ("walk, temperature 0.8", "walk, temperature 0.6", "draw-then-discard")
    )
    share = (published["total_variation"] - walk["total_variation"]) / (
        cooler["total_variation"] - walk["total_variation"]
    )
    nats = walk["judge_nats_per_token"] + share * (cooler["judge_nats_per_token"] - walk["judge_nats_per_token"])
    assert nats - published["judge_nats_per_token"] == pytest.approx(0.2, abs=0.05)
    as_learned, held_out = rows["walk, 8 steps"], rows["held-out"]
    assert as_learned["judge_nats_per_token"] == pytest.approx(4.2, abs=0.05)
    assert held_out["judge_nats_per_token"] == pytest.approx(2.5, abs=0.05)
    assert as_learned["total_variation"] < held_out["total_variation"] + 0.02

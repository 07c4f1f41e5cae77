"""What docs/concepts/levels.md states of its runs, from what is stored of them."""

from __future__ import annotations

import pytest
from drawing import BENCHMARKS, HERE, MEASURED, stored
from levels import classification_table, photographs_table, table

PAGE = (HERE / "levels.md").read_text()
STORED = stored(MEASURED / "levels.json")
WITHOUT, WITH, SCALES = STORED["VQ-VAE-2"], STORED["VQ-VAE-2, level dropout"], STORED["scales"]


def test_the_table_is_what_is_stored() -> None:
    assert table(STORED) in PAGE


def test_a_prior_over_photographs_knows_its_train_tokens_better_the_coarse_ones_most() -> None:
    measured = stored(BENCHMARKS / "three_levels.json")
    assert photographs_table(measured) in PAGE
    train, held_out = measured["train"], measured["validation"]
    assert held_out["mse"] == pytest.approx(1.085 * train["mse"], rel=0.01)
    assert held_out["nats_per_token"] == pytest.approx(1.10 * train["nats_per_token"], rel=0.005)
    pairs = zip(train["nats_per_token_of_levels"], held_out["nats_per_token_of_levels"], strict=True)
    assert [round(100 * (ours / theirs - 1)) for theirs, ours in pairs] == [15, 18, 8]


def test_level_dropout_makes_the_coarse_level_a_picture_and_costs_little_of_the_whole() -> None:
    assert WITHOUT["psnr"][0] < 11 < 23 < WITH["psnr"][0]
    assert WITH["psnr"][1] == pytest.approx(WITHOUT["psnr"][1] - 0.3, abs=0.05)


def test_every_level_adds_to_the_picture() -> None:
    assert all(found["psnr"] == sorted(found["psnr"]) for found in (WITH, SCALES))


def test_most_of_the_rate_is_the_finest_levels_and_a_learned_prior_makes_all_cheaper() -> None:
    for found in STORED.values():
        bits = found["bits"]
        assert all(of_levels == sorted(of_levels) for of_levels in bits.values())
        assert sum(bits["transformer"]) < sum(bits["unigram"]) < sum(bits["nominal"])


def test_samples_of_two_levels_teach_a_classifier_most_of_what_real_pictures_do() -> None:
    measured = stored(BENCHMARKS / "two_levels.json")
    assert classification_table(measured) in PAGE
    top_1 = {name: row["top_1"] for name, row in measured["generation"]["classification"].items()}
    assert top_1["reconstructions"] > 0.98 * top_1["real"] and top_1["samples"] > 0.85 * top_1["real"]
    assert sum(measured["processor_seconds"].values()) < 16 * 60

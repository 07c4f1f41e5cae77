"""What docs/concepts/levels.md states of its runs, from what is stored of them."""

from __future__ import annotations

import pytest
from drawing import HERE, MEASURED, stored
from levels import table

PAGE = (HERE / "levels.md").read_text()
STORED = stored(MEASURED / "levels.json")
WITHOUT, WITH, SCALES = STORED["VQ-VAE-2"], STORED["VQ-VAE-2, level dropout"], STORED["scales"]


def test_the_table_is_what_is_stored() -> None:
    assert table(STORED) in PAGE


def test_level_dropout_makes_the_coarse_level_a_picture_and_costs_one_db_of_the_whole() -> None:
    assert WITHOUT["psnr"][0] < 10 < 19 < WITH["psnr"][0]
    assert WITH["psnr"][1] == pytest.approx(WITHOUT["psnr"][1] - 1, abs=0.05)


def test_every_level_adds_to_the_picture() -> None:
    assert all(found["psnr"] == sorted(found["psnr"]) for found in (WITH, SCALES))


def test_most_of_the_rate_is_the_finest_levels_and_a_learned_prior_makes_all_cheaper() -> None:
    for found in STORED.values():
        bits = found["bits"]
        assert all(of_levels == sorted(of_levels) for of_levels in bits.values())
        assert sum(bits["transformer"]) < sum(bits["unigram"]) < sum(bits["nominal"])

"""What docs/concepts/rate_distortion.md states, from the stored results of the benchmarks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from drawing import BENCHMARKS, HERE, stored
from rate_distortion import Point, codec, joint_training, pca, psnr_at, table, vq_vae

PAGE = (HERE / "rate_distortion.md").read_text()


def test_the_table_is_what_is_stored() -> None:
    assert table() in PAGE and joint_training() in PAGE


def test_with_the_rate_in_the_loss_a_tokenizer_lies_above_the_line_between_two_codebooks() -> None:
    rows = stored(BENCHMARKS / "joint_training.json")["rows"]

    def found(
        codes: int, weight: float, *, revival: bool = False, prior: str = "transformer", heat: float = 1.0
    ) -> Any:
        wanted = (codes, weight, revival, prior, heat)
        names = ("codes", "rate_weight", "revival", "prior", "temperature")
        return next(row for row in rows if tuple(row[name] for name in names) == wanted)

    alone, fewer, fewest = (found(codes, 0, revival=True) for codes in (256, 64, 16))
    line = [Point(row["bits"], row["psnr"]) for row in (fewest, fewer, alone)]
    joint, heavy = found(256, 0.3), found(256, 1)
    others = found(256, 0.3, prior="unigram"), found(256, 0.3, heat=0.25)
    for row, bits, without in zip((joint, heavy, *others), (180, 147, 223, 188), (205, 158, 236, 221), strict=True):
        assert round(row["bits"]) == bits
        assert row["psnr"] == pytest.approx(psnr_at(without, line), abs=0.005)
    assert [round(row["perplexity"]) for row in (joint, heavy)] == [130, 101]
    saved = [alone["bits"] - row["bits"] for row in (found(256, 0.3, revival=True), joint)]
    assert [round(bits) for bits in saved] == [37, 57]
    assert found(256, 0)["bits"] == pytest.approx(alone["bits"], rel=0.01)


def test_under_a_learned_prior_the_vq_vae_lies_above_pca_at_its_own_bits() -> None:
    bits, psnr = vq_vae()["transformer"]
    assert psnr == pytest.approx(psnr_at(bits, pca()) + 0.95, abs=0.01)


@pytest.mark.parametrize("prior", ["uniform (nominal)", "unigram"])
def test_at_its_nominal_bits_and_under_frequencies_it_lies_below_pca_and_avif(prior: str) -> None:
    bits, psnr = vq_vae()[prior]
    assert psnr < psnr_at(bits, codec("AVIF")) < psnr_at(bits, pca())


def test_the_three_rates_fall_as_the_prior_knows_more() -> None:
    bits = [point.bits for point in vq_vae().values()]
    assert bits == sorted(bits, reverse=True)
    assert bits[1] > 0.97 * bits[0] > 1.25 * bits[2]


@pytest.mark.parametrize("name", ["JPEG", "WebP", "JPEG XL"])
def test_the_other_codecs_lie_below_avif(name: str) -> None:
    inside = [point for point in codec(name) if point.bits < codec("AVIF")[-1].bits]
    assert inside
    assert all(point.psnr < psnr_at(point.bits, codec("AVIF")) for point in inside)


@pytest.mark.parametrize("curve", [pca(), *map(codec, ("AVIF", "WebP", "JPEG", "JPEG XL"))])
def test_every_curve_rises(curve: list[Point]) -> None:
    assert all(a.psnr < b.psnr for a, b in pairwise(curve))


def test_the_nominal_bits_of_pca_are_the_same_whatever_the_step() -> None:
    nominal = {point["nominal_bits"] for point in stored(BENCHMARKS / "pca_rate.json")["points"]}
    assert len(nominal) == 1
    assert f"{nominal.pop():,.0f} bits" in PAGE


def test_the_libraries_are_those_that_wrote_the_files() -> None:
    versions = stored(BENCHMARKS / "codec_rate.json")["libraries"]
    assert len(versions) == 5
    assert all(version in PAGE for version in versions.values())


def test_psnr_between_two_points_is_on_a_straight_line_and_beyond_them_refused() -> None:
    curve = [Point(100, 20), Point(200, 22)]
    assert psnr_at(125, curve) == 20.5
    with pytest.raises(ValueError, match="250 bits are beyond the curve"):
        psnr_at(250, curve)

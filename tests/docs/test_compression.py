"""What docs/concepts/compression.md states, from the stored results of the benchmarks."""

from __future__ import annotations

import pytest
from compression import COLOURS, PHOTOGRAPHS, RUNS, SMALL, SMALLEST, TABLES, ahead, curves, small
from drawing import BENCHMARKS, HERE, stored

PAGE = (HERE / "compression.md").read_text()


def test_the_tables_are_what_is_stored() -> None:
    assert all(table() in PAGE for table in TABLES)


def test_files_are_what_the_priors_promise_and_exact() -> None:
    runs = stored(BENCHMARKS / "codec.json")["runs"]
    assert set(runs) == set(RUNS)
    for run in runs.values():
        assert all(rate["coded_bits"] <= rate["bound_bits"] for rate in run["rates"].values())
        assert len(run["exactness"]) == 3 * 4 * 4 and not any(run["exactness"].values())
    assert [run["pictures"] for run in runs.values()] == [1000, 99, 1000, 1000]


def test_no_damaged_file_is_decoded_to_something_else_without_a_word() -> None:
    found = stored(BENCHMARKS / "codec.json")["mutations"]
    longest, grown, _ = (found.pop(name) for name in ("longest_seconds", "grown_mib", "machine"))
    assert sum(found.values()) == 100_000 and not any("wrong" in outcome for outcome in found)
    assert longest == pytest.approx(4.8, abs=0.05) and grown == pytest.approx(179, abs=0.5)


def test_the_share_of_entropy_coding() -> None:
    runs = stored(BENCHMARKS / "codec.json")["runs"]

    def shares(names: list[str], priors: list[str], way: str) -> list[int]:
        rates = [runs[name]["rates"][prior] for name in names for prior in priors]
        parts = [[rate[f"{part}_{way}_seconds"] for part in ("coder", "prior", "tokenizer")] for rate in rates]
        return sorted(round(100 * coder / (coder + prior + tokenizer)) for coder, prior, tokenizer in parts)

    transform, vectors, fixed = ["cifar10-transform", "photographs"], [*RUNS][1::2], ["uniform", "unigram"]
    every = [*fixed, "learned"]
    assert max(shares(vectors, every, "encode") + shares(vectors, every, "decode")) == 6
    assert shares(transform, ["learned"], "decode") == [3, 7]
    assert shares(transform, ["learned"], "encode") == [4, 11]
    assert shares(transform, fixed, "decode")[0::3] == [16, 18]
    assert shares(transform, fixed, "encode")[0::3] == [29, 36]


@pytest.mark.parametrize(("comparison", "jpeg", "avif"), [("photographs", 1.7, 0.4), ("others", 1.5, -0.2)])
def test_photographs_are_above_jpeg_and_beside_avif(comparison: str, jpeg: float, avif: float) -> None:
    found = curves(comparison, "bits_per_pixel")
    rates = [rate for rate in found[PHOTOGRAPHS].bits if rate < 0.3]
    assert len(rates) == 4
    for anchor, gap in (("JPEG", jpeg), ("AVIF", avif)):
        assert ahead(found, PHOTOGRAPHS, anchor, 0.1, rates[-1]) == pytest.approx(gap, abs=0.05)


def test_one_small_picture_a_file_is_smaller_than_any_classical_format_makes_it() -> None:
    """At equal error, and at each of the qualities."""
    found = curves("cifar10", "bits_per_picture")
    for bits, psnr in zip(*found[SMALL], strict=True):
        for anchor in COLOURS:
            as_good = [other for other, quality in zip(*found[anchor], strict=True) if quality >= psnr]
            assert min(as_good) > 2 * bits
    assert [round(bits) for bits in found[SMALL].bits[2:]] == [226, 553]
    assert min(found["JPEG"].bits[0], found["AVIF"].bits[0]) > 2000


@pytest.mark.parametrize(
    ("own", "rate", "avif", "pca"),
    [
        *((SMALL, *row) for row in ((250, 1.0, 0.3), (300, 1.0, 0.4), (400, 1.0, 0.5), (550, 0.6, 0.5))),
        *((SMALLEST, *row) for row in ((303, 1.4, 0.75), (350, 1.5, 0.9), (400, 1.5, 0.95), (550, 1.1, 1.0))),
    ],
)
def test_sheets_of_small_pictures_are_above_avif_and_pca(own: str, rate: int, avif: float, pca: float) -> None:
    found = small()
    for anchor, gap in (("AVIF", avif), ("PCA", pca)):
        assert found[own].at(rate) - found[anchor].at(rate) == pytest.approx(gap, abs=0.06)


def test_the_qualities_of_the_vq_vae() -> None:
    assert [round(bits) for bits in small()[SMALLEST].bits] == [303, 628]

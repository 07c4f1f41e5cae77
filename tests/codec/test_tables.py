from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from vqkit.codec.tables import DEPTH, DITHERS, GUARD, STEP, TABLE, safe_dither, unsafe_dithers, weights


def exp_minus(j: int) -> Fraction:
    """exp(-j / 16) to 60 digits, by its series."""
    x, term, total = Fraction(j, 16), Fraction(1), Fraction(0)
    for n in range(1, 200):
        total += term
        term = (term * x / n).limit_denominator(10**90)
    return 1 / total


def test_the_table_is_the_rounded_exponential() -> None:
    for j in (0, 1, 2, 3, 17, 100, 255, 319, 320):
        assert int(TABLE[j]) == round(2**30 * exp_minus(j))
    assert len(TABLE) == DEPTH + 2
    assert TABLE[-1] == 0 and TABLE[DEPTH] > 0


def test_weights_are_those_of_the_logits_rounded_to_steps() -> None:
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((50, 30)) * 10
    for dither in (0, 100, 255):
        expected = np.empty_like(logits)
        for index, logit in np.ndenumerate(logits):
            below = (Fraction(float(logits[index[0]].max())) - Fraction(float(logit))) * 16
            expected[index] = TABLE[min(math.ceil(below - Fraction(2 * dither + 1, 512)), DEPTH)]
        assert np.array_equal(weights(logits, dither), expected)


def test_a_code_beyond_the_alphabet_has_no_weight_and_an_improbable_one_has() -> None:
    logits = np.array([[0.0, -np.inf, -1e9, -20.5]])
    assert weights(logits, 7).tolist() == [[2**30, 0, TABLE[DEPTH], TABLE[DEPTH]]]
    assert not unsafe_dithers(logits).any()


def test_the_cost_of_rounding_is_a_twenty_fourth_of_a_squared_step() -> None:
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4000, 256))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    w = weights(logits, int(DITHERS[0]))
    nats = (p * np.log(p * w.sum(1, keepdims=True) / w)).sum(1).mean()
    assert 0.9 < nats / (STEP**2 / 24) < 1.1


def test_safe_means_the_same_weights_on_a_machine_with_other_last_bits() -> None:
    generator = np.random.default_rng(0)
    differed = 0
    for trial in range(60):
        logits = generator.standard_normal((20, 50)) * 10
        if trial % 2:  # some logits at the edge of some dither, up to the guard band
            edges = logits.max(1, keepdims=True) - STEP * (
                generator.integers(0, 300, (20, 50)) + (generator.integers(256) + 0.5) / 256
            )
            logits = np.where(
                (generator.random((20, 50)) < 0.1) & (logits < logits.max(1, keepdims=True)), edges, logits
            )
            logits += generator.uniform(-2, 2, (20, 50)) * GUARD * (generator.random() < 0.5)
        elsewhere = logits * (1 + 1e-12 * generator.uniform(-1, 1, (20, 50)))
        unsafe = unsafe_dithers(logits)
        for dither in range(256):
            same = np.array_equal(weights(logits, dither), weights(elsewhere, dither))
            assert same or unsafe[dither]
            differed += not same
    assert differed > 10


def test_an_unsafe_dither_gives_other_weights_elsewhere() -> None:
    edge = -STEP * (40 + 12.5 / 256)  # the rounding edge of dither 12, 40 steps below the maximum
    logits, elsewhere = np.array([[0.0, edge * (1 - 1e-13)]]), np.array([[0.0, edge * (1 + 1e-13)]])
    assert weights(logits, 12).tolist() != weights(elsewhere, 12).tolist()
    assert np.flatnonzero(unsafe_dithers(logits)).tolist() == np.flatnonzero(unsafe_dithers(elsewhere)).tolist() == [12]
    chosen = safe_dither(unsafe_dithers(logits))
    assert weights(logits, chosen).tolist() == weights(elsewhere, chosen).tolist()


def test_the_guard_band_has_the_width_it_says() -> None:
    for dither in (0, 77, 255):
        edge = -STEP * (3 + (dither + 0.5) / 256)
        for distance, unsafe in ((0.9, True), (-0.9, True), (1.1, False), (-1.1, False)):
            found = unsafe_dithers(np.array([0.0, edge + distance * GUARD]))
            assert found[dither] == unsafe
            assert found.sum() == unsafe


def test_of_a_million_logits_three_hundredths_are_near_the_edges_of_a_dither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.codec.tables.GUARD", GUARD * 1024)  # so that a thousandth of them shows it
    generator = np.random.default_rng(0)
    rows = -19 * generator.random((20_000, 50))  # each has few enough that none is hidden by another of its dither
    hits = sum(int(unsafe_dithers(row).sum()) for row in rows)
    per_million = hits / 256 / 1024 / rows.size * 1e6
    assert per_million == pytest.approx(0.03, rel=0.1)
    of_96_million = rows[:1920]  # 96,000 logits: exp(-0.0298 x 96) = 0.06 of the dithers are safe
    assert 5 <= int((~unsafe_dithers(of_96_million)).sum()) <= 25


def test_an_encoder_prefers_the_middle_and_says_where_nothing_is_safe() -> None:
    unsafe = np.zeros(256, bool)
    order = []
    for _ in range(256):
        order.append(safe_dither(unsafe))
        unsafe[order[-1]] = True
    assert order[:5] == [127, 128, 126, 129, 125]
    assert sorted(order) == list(range(256))
    with pytest.raises(ValueError, match="fewer items in a chunk"):
        safe_dither(unsafe)


def test_bad_logits_are_refused() -> None:
    for function in (lambda logits: weights(logits, 0), unsafe_dithers):
        with pytest.raises(ValueError, match="float64"):
            function(np.zeros((2, 3), np.float32))
        for value in (np.nan, np.inf):
            with pytest.raises(ValueError, match="NaN, or infinite"):
                function(np.array([[0.0, value], [0.0, 1.0]]))
        with pytest.raises(ValueError, match="NaN, or infinite"):
            function(np.full((1, 3), -np.inf))
    for dither in (-1, 256):
        with pytest.raises(ValueError, match="give a byte"):
            weights(np.zeros((1, 2)), dither)

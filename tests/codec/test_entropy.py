from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.codec.entropy import MOST_SYMBOLS, Decoder, Encoder


def masses(weights: np.ndarray) -> np.ndarray:
    """The 24-bit integers that the coder makes of weights [n, K]."""
    alphabet = weights.shape[1]
    unit = (2**24 - alphabet) / weights.sum(1, keepdims=True)
    bounds = np.floor(np.cumsum(weights, 1) * unit) + np.arange(1, alphabet + 1)
    bounds[:, -1] = 2**24
    return np.diff(bounds, prepend=0)


def bits(symbols: np.ndarray, weights: np.ndarray) -> float:
    if weights.shape[1] == 1:
        return 0.0
    return float(-np.log2(masses(weights)[np.arange(len(symbols)), symbols] / 2**24).sum())


def sealed(symbols: np.ndarray, weights: np.ndarray) -> bytes:
    encoder = Encoder()
    encoder.encode(symbols, weights)
    return encoder.sealed()


def weighted(generator: np.random.Generator, n: int, alphabet: int, spread: float) -> np.ndarray:
    """Weights [n, K] from 0 to 2^30, of which some are 0 and at least one is not."""
    weights = np.round(2**30 * np.exp(-spread * generator.random((n, alphabet))))
    weights[generator.random((n, alphabet)) < 0.2] = 0
    weights[np.arange(n), generator.integers(0, alphabet, n)] = 2.0 ** generator.integers(1, 30)
    return weights


def drawn(generator: np.random.Generator, weights: np.ndarray, likely: bool) -> np.ndarray:
    """Symbols [n] with weight: as likely as they are, or any."""
    shares = weights if likely else (weights > 0).astype(float)
    return np.array([generator.choice(len(row), p=row / row.sum()) for row in shares], np.int64)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 60),
    alphabet=st.sampled_from([1, 2, 3, 16, 300]),
    spread=st.sampled_from([0.0, 1.0, 20.0]),
    likely=st.booleans(),
)
def test_symbols_come_back_in_any_number_of_calls(
    seed: int, n: int, alphabet: int, spread: float, likely: bool
) -> None:
    generator = np.random.default_rng(seed)
    weights = weighted(generator, n, alphabet, spread)
    symbols = drawn(generator, weights, likely)
    encoder = Encoder()
    cuts = [0, *sorted(generator.integers(0, n + 1, 3)), n]
    for start, stop in itertools.pairwise(cuts):
        encoder.encode(symbols[start:stop], weights[start:stop])
    payload = encoder.sealed()
    assert payload == encoder.sealed() == sealed(symbols, weights)
    decoder = Decoder(payload)
    cuts = [0, *sorted(generator.integers(0, n + 1, 3)), n]
    decoded = [decoder.decode(weights[start:stop]) for start, stop in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(decoded), symbols)
    assert len(payload) <= math.ceil(bits(symbols, weights) / 8) + 1
    assert not payload.endswith(b"\0")


def test_the_mean_overhead_is_a_third_of_a_byte() -> None:
    generator = np.random.default_rng(0)
    excess = []
    for _ in range(2000):
        weights = weighted(generator, int(generator.integers(1, 20)), 32, 4.0)
        symbols = drawn(generator, weights, likely=True)
        excess.append(len(sealed(symbols, weights)) - bits(symbols, weights) / 8)
    assert 0.25 < np.mean(excess) < 0.45


def test_no_shorter_bytes_decode_to_the_symbols() -> None:
    generator = np.random.default_rng(1)
    lengths = []
    for _ in range(30):
        weights = weighted(generator, 4, 5, 4.0)
        symbols = drawn(generator, weights, likely=True)
        lengths.append(len(sealed(symbols, weights)))
        if 0 < lengths[-1] <= 2:
            shorter = (n.to_bytes(lengths[-1] - 1, "big") for n in range(256 ** (lengths[-1] - 1)))
            assert not any(np.array_equal(decoded_or_none(data, weights), symbols) for data in shorter)
    assert {1, 2} <= set(lengths)


def decoded_or_none(payload: bytes, weights: np.ndarray) -> np.ndarray | None:
    try:
        return Decoder(payload).decode(weights)
    except ValueError:
        return None


@pytest.mark.parametrize("n", [1, 20, 21, 41, 100, 1000])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_carry_that_stays_open_for_long_is_resolved(n: int, last: int) -> None:
    # The middle third of the middle third ... holds one half, so no bit is known before the last symbol.
    symbols = np.array([1] * (n - 1) + [last])
    weights = np.ones((n, 3))
    payload = sealed(symbols, weights)
    assert np.array_equal(Decoder(payload).decode(weights), symbols)
    assert len(payload) <= math.ceil(n * math.log2(3) / 8) + 1


@settings(max_examples=200)
@given(
    payload=st.lists(st.sampled_from([0, 1, 127, 128, 254, 255]), max_size=30).map(bytes),
    alphabet=st.sampled_from([2, 3, 256]),
)
def test_symbols_of_numbers_at_the_ends_of_words_come_back(payload: bytes, alphabet: int) -> None:
    # What any bytes decode to is encoded again; runs of 0 and 255 are where the coder's own number wraps around.
    weights = np.ones((130, alphabet))
    try:
        symbols = Decoder(payload).decode(weights)
    except ValueError:
        return
    for n in range(len(symbols)):
        again = sealed(symbols[:n], weights[:n])
        assert np.array_equal(Decoder(again).decode(weights[:n]), symbols[:n])
        assert len(again) <= math.ceil(n * math.log2(alphabet) / 8) + 1


def test_the_largest_alphabets_code() -> None:
    generator = np.random.default_rng(2)
    weights = weighted(generator, 4, 70_000, 10.0)
    symbols = drawn(generator, weights, likely=True)
    assert np.array_equal(Decoder(sealed(symbols, weights)).decode(weights), symbols)
    row = np.ones(MOST_SYMBOLS)
    row[7] = 2**30
    encoder = Encoder()
    encoder.encode(np.array([7, MOST_SYMBOLS - 1, 0]), row)
    assert Decoder(encoder.sealed()).decode(row, 3).tolist() == [7, MOST_SYMBOLS - 1, 0]


def test_one_distribution_for_all_symbols_is_the_same_as_one_for_each() -> None:
    generator = np.random.default_rng(3)
    for alphabet in (1, 2, 300):
        row = weighted(generator, 1, alphabet, 5.0)
        rows = np.repeat(row, 50, 0)
        symbols = drawn(generator, rows, likely=False)
        assert sealed(symbols, row[0]) == sealed(symbols, rows)
        assert np.array_equal(Decoder(sealed(symbols, rows)).decode(row[0], 50), symbols)


def test_what_is_certain_or_nothing_costs_nothing() -> None:
    assert Encoder().sealed() == b""
    assert sealed(np.zeros(1000, np.int64), np.ones((1000, 1))) == b""
    certain = np.zeros((1000, 4))
    certain[:, 2] = 2**30
    assert len(sealed(np.full(1000, 2), certain)) <= 1
    assert np.array_equal(Decoder(sealed(np.full(1000, 2), certain)).decode(certain), np.full(1000, 2))


def test_any_bytes_decode_or_raise_value_error() -> None:
    generator = np.random.default_rng(4)
    raised = 0
    for trial in range(500):
        weights = weighted(generator, 30, int(generator.integers(2, 50)), 5.0)
        payload = b"\xff" * trial if trial < 50 else generator.bytes(int(generator.integers(0, 40)))
        decoder = Decoder(payload)
        try:
            for _ in range(3):
                symbols = decoder.decode(weights)
                assert (weights[np.arange(30), symbols] > 0).all()
        except ValueError:
            raised += 1
    assert 0 < raised < 500


def test_bad_arguments_are_refused() -> None:
    rows = np.ones((2, 3))
    rows[0, 1] = 0
    for symbols in ([1, 0], [3, 0], [-1, 0]):
        with pytest.raises(ValueError, match="beyond its alphabet"):
            Encoder().encode(np.array(symbols), rows)
    with pytest.raises(ValueError, match="3 symbols and 2 rows"):
        Encoder().encode(np.array([0, 0, 0]), rows)
    for weights in (rows.astype(np.float32), np.ones((2, 0)), np.ones((1, 2, 3)), np.ones(MOST_SYMBOLS + 1)):
        with pytest.raises(ValueError, match="give float64"):
            Encoder().encode(np.array([0, 0]), weights)
    with pytest.raises(ValueError, match="give a count"):
        Decoder(b"").decode(rows[0])
    with pytest.raises(ValueError, match="give a count"):
        Decoder(b"").decode(rows, 2)

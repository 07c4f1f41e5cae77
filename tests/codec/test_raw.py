from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqkit.codec.raw import pack, raw_length, unpack


@given(st.lists(st.integers(1, 70_000).flatmap(lambda k: st.tuples(st.integers(0, k - 1), st.just(k))), max_size=40))
def test_symbols_come_back(pairs: list[tuple[int, int]]) -> None:
    symbols, sizes = np.array([s for s, _ in pairs], np.int64), [k for _, k in pairs]
    data = pack(symbols, sizes)
    assert len(data) == raw_length(sizes) == math.ceil(round(sum(math.log2(k) for k in sizes) / 8, 9))
    assert np.array_equal(unpack(data, sizes), symbols)


def test_64_tokens_of_512_codes_are_72_bytes() -> None:
    assert raw_length([512] * 64) == 72
    assert raw_length([5] * 64) == 19  # 148.6 bits, where 3 bits each are 24 bytes
    assert raw_length([]) == raw_length([1] * 9) == 0


def test_the_first_symbol_is_the_highest_digit() -> None:
    assert pack(np.array([1, 2, 3]), [10, 10, 10]) == (123).to_bytes(2, "big")
    assert pack(np.array([1, 2, 3]), [256, 256, 256]) == bytes([1, 2, 3])
    assert pack(np.array([6, 1, 4]), [7, 2, 5]) == bytes([6 * 10 + 1 * 5 + 4])


def test_many_symbols() -> None:
    generator = np.random.default_rng(0)
    sizes = [1000] * 20_000
    symbols = generator.integers(0, 1000, 20_000)
    assert np.array_equal(unpack(pack(symbols, sizes), sizes), symbols)


def test_what_does_not_fit_is_refused() -> None:
    for symbols in ([5, 0], [-1, 0], [0]):
        with pytest.raises(ValueError, match="do not fit"):
            pack(np.array(symbols), [5, 5])
    for data in (b"", b"\0\0", bytes([25])):
        with pytest.raises(ValueError, match="are not 2 raw symbols"):
            unpack(data, [5, 5])

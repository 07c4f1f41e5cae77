"""The order of batches is a function of seed and step, and reading ahead changes nothing."""

import threading
from collections.abc import Sequence
from itertools import chain, islice, pairwise

import numpy as np
import pytest

from vqkit.data import Dataset, Records, mixed, shuffled, spread, sweep
from vqkit.modality import Cell, Image


class Cells(list[Cell]):
    """Greys 0, 1, 2 ..."""

    def __init__(self, count: int) -> None:
        super().__init__(np.full((2, 2), i, np.uint8) for i in range(count))


def dataset(count: int = 23, budget: int = 1 << 30, strict: bool = False, broken: int | None = None) -> Dataset:
    cells = Cells(count)
    if broken is not None:
        cells[broken] = b"broken"
    return Dataset(Records(cells, [str(i) for i in range(count)]), Image(), strict, budget)


def first(n: int, *args: int, data: Dataset | None = None, **kwargs: int) -> list[list[str]]:
    return [batch.key for batch in islice(shuffled(data or dataset(), *args, **kwargs), n)]


@pytest.mark.parametrize("batch_size", [4, 23, 60])
def test_shuffled_is_a_function_of_seed_and_step(batch_size: int) -> None:
    whole = first(20, batch_size, seed=1)
    assert whole != first(20, batch_size, seed=2)
    for start in (1, 7, 15):
        assert first(5, batch_size, seed=1, start=start) == whole[start : start + 5]
    assert first(20, batch_size, seed=1, data=dataset(budget=0)) == whole
    order = [key for batch in whole for key in batch]
    for epoch in range(len(order) // 23):
        assert len(set(order[23 * epoch : 23 * (epoch + 1)])) == 23
    assert order[:23] != order[23:46]


def test_ranks_share_the_global_batch() -> None:
    whole = first(9, 12, seed=0)
    shares = [first(9, 12, seed=0, rank=rank, world=3) for rank in range(3)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole
    with pytest.raises(ValueError, match="batch_size 10 is not a multiple of 3"):
        shuffled(dataset(), 10, seed=0, world=3)


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_sweep(budget: int) -> None:
    batches = list(sweep(dataset(budget=budget), 5))
    assert [len(batch.key) for batch in batches] == [5, 5, 5, 5, 3]
    assert [x for batch in batches for x in batch.x[:, 0, 0, 0].tolist()] == list(range(23))
    assert [batch.key for batch in sweep(dataset(budget=budget), 2, range(0, 23, 9))] == [["0", "9"], ["18"]]
    with pytest.raises(ValueError, match="batch_size"):
        sweep(dataset(budget=budget), 0)


@pytest.mark.parametrize(("n", "most"), [(0, 3), (1, 3), (7, 7), (10, 3), (23, 22), (1000, 1)])
def test_spread(n: int, most: int) -> None:
    rows = spread(n, most)
    assert len(rows) == min(n, most) and set(rows) <= set(range(n))
    steps = {int(step) for step in np.diff([*rows, n])} if rows else {1}
    assert min(steps) >= 1 and max(steps) - min(steps) <= 1


def test_mixed_rows_are_the_same_rows_and_seldom_beside_their_neighbours() -> None:
    rows = list(range(100, 400, 3))
    order = mixed(rows)
    assert sorted(order) == rows and order == mixed(rows)
    assert sum(abs(a - b) == 3 for a, b in pairwise(order)) < 10


def test_spread_needs_one() -> None:
    with pytest.raises(ValueError, match="most is 0"):
        spread(5, 0)


class Numbers:
    """The smallest thing that can be batched."""

    def __len__(self) -> int:
        return 9

    def read(self, rows: Sequence[int]) -> list[int]:
        return list(rows)


def prefetching() -> int:
    return sum(thread.name == "vqkit-prefetch" for thread in threading.enumerate())


def test_an_error_while_reading_ahead_reaches_the_caller() -> None:
    batches = sweep(dataset(budget=0, strict=True, broken=12), 5)
    assert [len(next(batches).key) for _ in range(2)] == [5, 5]
    with pytest.raises(ValueError, match="12: "):
        next(batches)


def test_closing_ends_the_thread() -> None:
    for taken in (1, 3):
        batches = shuffled(dataset(budget=0), 5, seed=0)
        for _ in range(taken):
            next(batches)
        batches.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "vqkit-prefetch":
            thread.join(timeout=5)
    assert prefetching() == 0


def test_only_a_data_set_that_decodes_is_read_ahead() -> None:
    numbers, decoded = sweep(Numbers(), 4), sweep(dataset(), 4)
    assert next(numbers) == [0, 1, 2, 3] and next(decoded).key == ["0", "1", "2", "3"] and prefetching() == 0
    lazy = sweep(dataset(budget=0), 1)
    assert next(lazy).key == ["0"] and prefetching() == 1
    lazy.close()  # type: ignore[attr-defined]

"""The order in which samples come: shuffled without end for training, once in order for everything else."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from vqkit.data.dataset import Dataset
from vqkit.modality import Array

T = TypeVar("T", covariant=True)


class Readable(Protocol[T]):
    """What can be batched: a `Dataset` of `Batch`, token shards of `Tokens`."""

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> T:
        """The samples of these rows, in this order."""


def shuffled(
    data: Readable[T], batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1
) -> Iterator[T]:
    """Batches without end, from step `start` on: this rank's contiguous share of each global batch.

    The global batch of `batch_size` samples at step t is a function of (seed, t): samples t * batch_size and on, of
    one permutation of the data set after the other. So any step can be started from at once.

    Raises ValueError where `batch_size` cannot be shared equally by `world` ranks.
    """
    if batch_size < 1 or batch_size % world:
        raise ValueError(f"batch_size {batch_size} is not a multiple of {world}, the number of ranks; make it one")
    share = batch_size // world

    @lru_cache(maxsize=2)
    def permutation(epoch: int) -> Array:
        return np.random.default_rng((seed, epoch)).permutation(len(data))

    def rows(step: int) -> list[int]:
        first = step * batch_size + rank * share
        epochs, places = np.divmod(np.arange(first, first + share), len(data))
        parts = [permutation(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return [int(row) for part in parts for row in part]

    return _read(data, map(rows, itertools.count(start)))


def sweep(data: Readable[T], batch_size: int, rows: Sequence[int] | None = None) -> Iterator[T]:
    """Every sample, or those of `rows`, once and in order; the last batch may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; make it 1 or more")
    chosen = range(len(data)) if rows is None else rows
    return _read(data, (chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)))


def spread(n: int, most: int) -> list[int]:
    """Up to `most` row numbers, evenly spread over range(n): for a look at part of a set, which may be sorted by class.

    Raises ValueError where `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most is {most}; look at 1 sample or more")
    count = min(n, most)
    return [row * n // count for row in range(count)]


def mixed(rows: Sequence[int]) -> list[int]:
    """The same rows in a fixed order that has nothing to do with theirs."""
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def _read(data: Readable[T], rows: Iterable[Sequence[int]]) -> Iterator[T]:
    """The batches of these rows, read ahead where a `Dataset` has to decode them."""
    batches = map(data.read, rows)
    if isinstance(data, Dataset) and not data.in_memory:
        return _prefetched(batches)
    return batches  # everything else only copies, which takes less time than handing it over would


def _prefetched(batches: Iterator[T], depth: int = 4) -> Iterator[T]:
    """The same batches, made up to `depth` ahead on a thread, which ends when this generator is closed."""
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    closed = threading.Event()

    def produce() -> None:
        try:
            for batch in batches:
                ready.put(batch)
                if closed.is_set():
                    return
            ready.put(_End(None))
        except BaseException as error:  # whatever it is, the caller is to see it
            ready.put(_End(error))

    threading.Thread(target=produce, name="vqkit-prefetch", daemon=True).start()
    try:
        while not isinstance(batch := ready.get(), _End):
            yield batch
        if batch.error is not None:
            raise batch.error
    finally:
        closed.set()
        while not ready.empty():  # makes room for a put that waits; the thread then sees that it is over
            ready.get_nowait()


class _End(NamedTuple):
    """No more batches, because of `error` if there is one."""

    error: BaseException | None

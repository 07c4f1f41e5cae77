"""Records decoded into batches: all at once where they fit into memory, otherwise batch by batch."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqkit.data.records import Records, Source, Split
from vqkit.data.sources import open_source
from vqkit.modality import Array, Modality
from vqkit.signal import Batch


class Dataset:
    """One split, ready to be read.

    Samples that do not decode are left out and counted in `skipped`: here and now where the decoded samples fit into
    `memory_budget`; else when they are read, so that a batch may come out smaller and `len` counts them still. A
    batch of which nothing decodes comes out as one sample, the next that does.

    Args:
        records: what to decode.
        modality: how to decode it.
        strict: raise for a sample that does not decode, instead of leaving it out.
        memory_budget: bytes of decoded samples to hold.

    Raises:
        ValueError: there are no samples, they differ in shape, nothing decodes, or, if strict, something does not.
    """

    def __init__(
        self, records: Records, modality: Modality, strict: bool = False, memory_budget: int = 1 << 30
    ) -> None:
        self.modality = modality
        self.strict = strict
        self._records = records
        self._broken: set[int] = set()
        self._shape = tuple(self._next(0)[1].shape)
        self._decoded: Array | None = None
        if len(records.keys) * math.prod(self._shape) <= memory_budget:
            everything = np.arange(len(records.keys))
            samples, kept = self._decode(everything)
            self._decoded = samples
            self._records = records.take(kept)._replace(cells=())  # the encoded samples may go
        self.signal = modality.signal([self._shape], records.label_names)
        self.keys: Sequence[str] = self._records.keys
        self.captions: Sequence[str] | None = self._records.captions
        self.labels: Tensor | None = None if records.labels is None else torch.from_numpy(self._records.labels)
        """int64 [N]."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def in_memory(self) -> bool:
        """Whether all samples are decoded, so that reading only copies."""
        return self._decoded is not None

    @property
    def skipped(self) -> int:
        """How many samples were found not to decode."""
        return len(self._broken)

    def read(self, rows: Sequence[int] | Array | Tensor) -> Batch:
        """These samples, in this order: x [B, C, *grid] in native values, channels-last in memory.

        Raises ValueError where a sample decoded now differs in shape from the first or, if strict, does not decode.
        """
        rows = np.asarray(rows, np.int64)
        if self._decoded is not None:
            samples = self._decoded.take(rows, axis=0)  # torch's index_select waits for all cores, and some are busy
        else:
            asked, (samples, rows) = rows, self._decode(rows)
            if len(asked) and not len(rows):  # nobody can use an empty batch
                row, sample = self._next(int(asked[-1]) + 1)
                self._check(sample)
                samples, rows = sample[None].copy(), np.array([row])  # torch wants it writable
        side = {} if self.labels is None else {"label": self.labels[torch.from_numpy(rows)]}
        return Batch(torch.from_numpy(samples).movedim(-1, 1), None, side, [self.keys[row] for row in rows.tolist()])

    def _next(self, start: int) -> tuple[int, Array]:
        """The first row from `start` on, wrapping round, that decodes, and its sample [*grid, C]."""
        count = len(self._records.keys)
        if not count:
            raise ValueError("the data set is empty; give one that holds a sample")
        for row in (i % count for i in range(start, start + count)):
            if row in self._broken:
                continue
            try:
                return row, self.modality.decode(self._records.cells[row])
            except ValueError as error:
                self._drop(row, error)
        raise ValueError(f"none of {count} samples, {self._records.keys[0]} the first, can be decoded; give others")

    def _decode(self, rows: Array) -> tuple[Array, Array]:
        """The samples [n, *grid, C] of the rows that decode, and those rows int64 [n]; on all cores."""
        samples = np.empty((len(rows), *self._shape), np.uint8)
        good = np.ones(len(rows), bool)

        def work(start: int) -> None:
            for i in range(start, min(start + share, len(rows))):
                row = int(rows[i])
                try:
                    sample = self.modality.decode(self._records.cells[row])
                except ValueError as error:
                    self._drop(row, error)
                    good[i] = False
                    continue
                self._check(sample)
                samples[i] = sample

        threads = os.cpu_count() or 1
        share = max(1, min(256, len(rows) // (4 * threads)))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(0, len(rows), share)))
        return (samples, rows) if good.all() else (samples[good], rows[good])

    def _check(self, sample: Array) -> None:
        if sample.shape != self._shape:
            self.modality.signal([self._shape, sample.shape])  # raises, and says what to do

    def _drop(self, row: int, error: ValueError) -> None:
        if self.strict:
            raise ValueError(f"{self._records.keys[row]}: {error}") from error
        self._broken.add(row)


def open_dataset(
    source: str | Path | Source,
    modality: Modality,
    split: Split = "train",
    strict: bool = False,
    validation_share: float = 0.1,
) -> Dataset:
    """A split of a source; give an opened `Source` to open several.

    Raises:
        ValueError: the source, its split or its samples are not there or cannot be read.
    """
    opened = source if isinstance(source, Source) else open_source(source)
    return Dataset(opened.split(split, validation_share), modality, strict)

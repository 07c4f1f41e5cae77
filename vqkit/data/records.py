"""What a source is before decoding: named splits of cells, labels and keys."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from vqkit.modality import Array, Cell

Split: TypeAlias = Literal["train", "validation", "test", "all"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""The names under which sources store their splits."""

_LOG = logging.getLogger("vqkit")


class Records(NamedTuple):
    """N samples before decoding. `cells` may read lazily; `labels` are int64 [N] into `label_names`, or None;
    `keys` name the samples within their source; `captions` describe them in words, where the source does."""

    cells: Sequence[Cell]
    keys: Sequence[str]
    labels: Array | None = None
    label_names: tuple[str, ...] = ()
    captions: Sequence[str] | None = None

    def take(self, rows: Array) -> Records:
        """The records of these rows, int64 [n]; no cell is read."""
        return Records(
            Selection(self.cells, rows),
            [self.keys[row] for row in rows],
            None if self.labels is None else self.labels[rows],
            self.label_names,
            None if self.captions is None else [self.captions[row] for row in rows],
        )


class Selection(Sequence[Cell]):
    """Some rows of a sequence of cells, each read when it is asked for."""

    def __init__(self, cells: Sequence[Cell], rows: Array) -> None:
        self.cells, self.rows = cells, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Cell:  # type: ignore[override]
        return self.cells[int(self.rows[row])]


class Chain(Sequence[Cell]):
    """Sequences of cells, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Cell]]) -> None:
        self.parts = parts
        self.ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> Cell:  # type: ignore[override]
        part = bisect_right(self.ends, row)
        return self.parts[part][row - (self.ends[part] - len(self.parts[part]))]


class Source(NamedTuple):
    """Where data comes from: its name, and its records by split: train, validation, test."""

    name: str
    splits: Mapping[str, Records]

    def split(self, name: Split, validation_share: float = 0.1) -> Records:
        """The records of a split; "all" is every split in turn.

        A source that has only a train split is divided: the hash of its key sends a record to validation or keeps it in
        train, so that it stays where it is when others are added. A source with train and test has test for validation.
        Raises ValueError for a split that is not there or empty.
        """
        if name == "all":
            return self._filled(_joined(list(self.splits.values())), "it")
        if list(self.splits) == ["train"] and name in ("train", "validation"):
            records = self._filled(self.splits["train"], "it")
            if len(records.keys) < 2:
                raise ValueError(f"{self.name} holds one sample, and one must be held out; add others")
            held_out = _held_out(records.keys, validation_share)
            return records.take(np.flatnonzero(held_out == (name == "validation")))
        if name == "validation" and name not in self.splits:
            name = "test"
        if name not in self.splits:
            raise ValueError(f"{self.name} has no split {name}; it has {' and '.join(self.splits)}")
        return self._filled(self.splits[name], f"its split {name}")

    def _filled(self, records: Records, what: str) -> Records:
        """The same records. Raises ValueError where there are none."""
        if not len(records.keys):
            raise ValueError(f"{self.name} cannot be used because {what} is empty; add samples to it")
        return records


def _held_out(keys: Sequence[str], share: float) -> Array:
    """bool [N], true for validation: about `share` of the keys, at least one, not all."""
    if not 0 < share < 1:
        raise ValueError(f"validation_share is {share}; make it more than 0 and less than 1")
    digests = b"".join(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest() for key in keys)
    draws = np.frombuffer(digests, "<u8") / 2.0**64
    held_out = draws < share
    held_out[draws.argmin()], held_out[draws.argmax()] = True, False
    return held_out


def _joined(parts: Sequence[Records]) -> Records:
    """One after the other; labels and captions stay where every part that is not empty has them."""
    parts = [part for part in parts if len(part.keys)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    captions = [part.captions for part in parts if part.captions is not None]
    return Records(
        Chain([part.cells for part in parts]),
        [key for part in parts for key in part.keys],
        np.concatenate(labels) if len(labels) == len(parts) else None,
        parts[0].label_names,
        [caption for part in captions for caption in part] if len(captions) == len(parts) else None,
    )


def labelled(splits: Mapping[str, Records], names: Sequence[str] = ()) -> dict[str, Records]:
    """The splits with raw labels, integers or strings [N], turned into int64 that count from 0 and have names.

    Integers keep their value and are named by `names` where given; strings are numbered in sorted order over all
    splits, and so are integers without names that use less than a tenth of more than 1000 values. A split with a
    negative label, which is how the hub marks withheld ones, counts as unlabelled, which is logged.
    """
    raw = {name: np.asarray(r.labels) for name, r in splits.items() if r.labels is not None and len(r.labels)}
    if any(labels.dtype.kind not in "iub" for labels in raw.values()):
        names = sorted({str(value) for labels in raw.values() for value in np.unique(labels)})
        raw = {name: np.searchsorted(np.array(names), labels.astype(str)) for name, labels in raw.items()}
    if withheld := [name for name, labels in raw.items() if labels.min() < 0]:
        _LOG.warning(
            "%s has negative labels and counts as unlabelled; number the classes from 0 to use them",
            " and ".join(f"split {name}" for name in withheld),
        )
    raw = {name: labels.astype(np.int64) for name, labels in raw.items() if name not in withheld}
    used = np.unique(np.concatenate(list(raw.values()))) if raw else np.empty(0, np.int64)
    count = int(used[-1]) + 1 if raw else 0
    if count > max(len(names), 1000, 10 * len(used)):  # identifiers, not classes: a name for each value would be many
        names, count = [str(value) for value in used.tolist()], len(used)
        raw = {name: np.searchsorted(used, labels) for name, labels in raw.items()}
    every = (*names, *map(str, range(len(names), count))) if raw else ()
    return {name: r._replace(labels=raw.get(name), label_names=every) for name, r in splits.items()}

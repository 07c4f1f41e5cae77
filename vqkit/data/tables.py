"""Pictures as encoded bytes in Arrow tables: Parquet as the Hugging Face hub stores it, and the hub itself."""

from __future__ import annotations

import json
import logging
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from vqkit.data.records import SPLIT_NAMES, Records, Source, labelled
from vqkit.modality import Cell

IN_MEMORY_BYTES = 2 << 30
"""Parquet tables up to this size are read at once; larger ones through the memory-mapped cache of `datasets`."""

_LOG = logging.getLogger("vqkit")


def parquet_files(paths: list[Path], name: str) -> Source:
    """Parquet files; the splits are told from the names of the files and of the folders that hold them."""
    files: dict[str, list[str]] = {}
    for path in paths:
        words = [word for part in (path.stem, path.parent.name) for word in re.split(r"[-._]", part.lower())]
        split = (
            next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train") if len(paths) > 1 else "train"
        )
        files.setdefault(split, []).append(str(path))
    try:
        tables = {split: _table(shards) for split, shards in files.items()}
    except (OSError, arrow.ArrowException) as error:
        raise ValueError(f"{name} cannot be read as Parquet ({error}); download it again") from error
    return _source(name, tables)


def hub(name: str) -> Source:
    """A data set of the Hugging Face hub, owner/name or owner/name:configuration, downloaded into its cache."""
    import datasets

    repository, _, configuration = name.partition(":")
    try:
        splits = datasets.load_dataset(repository, configuration or None)
    except (OSError, ValueError) as error:
        hint = "check its name and the network, or give a folder of its Parquet files"
        raise ValueError(f"hf://{name} cannot be loaded ({error}); {hint}") from error
    named = {SPLIT_NAMES.get(split, split): data.with_format("arrow")[:] for split, data in splits.items()}
    names = next((f.names for data in splits.values() for f in data.features.values() if hasattr(f, "names")), ())
    return _source(f"hf://{name}", named, names)


def _table(files: list[str]) -> Any:
    """One Arrow table of files of one schema."""
    stored = sum(
        group.column(i).total_uncompressed_size
        for metadata in map(parquet.read_metadata, files)
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for i in range(group.num_columns)
    )
    if stored <= IN_MEMORY_BYTES:
        return arrow.concat_tables([parquet.ParquetFile(file).read() for file in files], promote_options="default")
    import datasets

    return datasets.Dataset.from_parquet(files).with_format("arrow")[:]


def _source(name: str, tables: Mapping[str, Any], label_names: Sequence[str] = ()) -> Source:
    schema = next(iter(tables.values())).schema
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    classes = {column: feature["names"] for column, feature in features.items() if "names" in feature}
    label = next((column for column in ("label", "labels", *classes) if column in schema.names), None)
    pictures = [field.name for field in schema if _holds_files(field.type)]
    if not pictures:
        raise ValueError(f"{name} has no column of encoded pictures, only {', '.join(schema.names)}; add one, as bytes")
    columns = {split: table.column(label) for split, table in tables.items()} if label else {}
    unusable = [column for column in columns.values() if len(column) and not _holds_labels(column)]
    if unusable:
        found = "nulls" if unusable[0].null_count else f"values of type {unusable[0].type}"
        hint = "store an integer, a boolean or a string in every row"
        _LOG.warning("%s counts as unlabelled because its column %s holds %s; %s", name, label, found, hint)
        columns = {}
    splits = {}
    for split, table in tables.items():
        cells = EncodedColumn(table.column(pictures[0]))
        labels = columns[split].to_numpy() if columns else None
        splits[split] = Records(cells, [f"{split}/{i}" for i in range(len(cells))], labels)
    return Source(name, labelled(splits, label_names or classes.get(label, ())))


def _holds_files(kind: Any) -> bool:
    """Whether a column's cells are files: bytes, or the hub's struct of bytes and path."""
    if arrow.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))


def _holds_labels(column: Any) -> bool:
    """Whether a column's cells are integers, booleans or strings, perhaps dictionary-encoded, and none is null."""
    kind = column.type.value_type if arrow.types.is_dictionary(column.type) else column.type
    tests = (arrow.types.is_integer, arrow.types.is_boolean, arrow.types.is_string, arrow.types.is_large_string)
    return not column.null_count and any(test(kind) for test in tests)


class EncodedColumn(Sequence[Cell]):
    """The files in an Arrow column, each copied out when it is asked for."""

    def __init__(self, column: Any) -> None:
        parts = [part for part in column.chunks if len(part)]
        self._parts = [part.field("bytes") if arrow.types.is_struct(part.type) else part for part in parts]
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> Cell:  # type: ignore[override]
        part = bisect_right(self._ends, row)
        files = self._parts[part]
        return files[row - self._ends[part] + len(files)].as_py() or b""

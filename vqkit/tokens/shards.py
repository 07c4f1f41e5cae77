"""Token shards: Parquet files with the indices of every level, the side facts and the key of each sample.

The schema's metadata says which tokenizer wrote them (`vqkit.tokenizer`, its fingerprint) and on which grids
(`vqkit.layout`), so that tokens stay readable without vqkit and a prior can refuse those of another tokenizer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from vqkit.signal import Indices, Layout, Side

_TOKENIZER, _LAYOUT, _SOURCE = b"vqkit.tokenizer", b"vqkit.layout", b"vqkit.source"


class Tokens(NamedTuple):
    """A batch of tokens: `indices` int64 [B, Q, *grid] a level."""

    indices: Indices
    side: Side
    key: list[str]


def shard_path(folder: str | os.PathLike[str], number: int) -> Path:
    """Where shard `number` of a folder is."""
    return Path(folder) / f"tokens-{number:05d}.parquet"


def write_shard(path: Path, batches: Iterable[Tokens], layout: Layout, tokenizer: str, source: str = "") -> None:
    """Writes one shard, whole or not at all, so that a stopped job goes on with the first shard that is missing.

    `tokenizer` is the fingerprint of what made the tokens, `source` names the samples. Raises OSError where the
    disk is full.
    """
    schema = _schema(layout, tokenizer, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for tokens in batches:
                writer.write_table(_table(tokens, schema))
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def source_of(path: Path) -> str:
    """What names the samples that a shard was made of, "" where it does not say."""
    metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
    return metadata.get(_SOURCE, b"").decode()


def _schema(layout: Layout, tokenizer: str, source: str) -> pa.Schema:
    levels = []
    for level, (tokens, sizes) in enumerate(zip(layout.tokens, layout.codebook_sizes, strict=True)):
        integer = pa.from_numpy_dtype(np.min_scalar_type(max(sizes) - 1))
        levels.append(pa.field(f"indices_{level}", pa.list_(integer, tokens)))
    label = pa.field("label", pa.int64(), nullable=True)
    metadata = {_TOKENIZER: tokenizer.encode(), _LAYOUT: json.dumps(layout._asdict()).encode()}
    metadata[_SOURCE] = source.encode()
    return pa.schema([*levels, label, pa.field("key", pa.string())], metadata=metadata)


def _table(tokens: Tokens, schema: pa.Schema) -> pa.Table:
    columns = []
    for level, indices in enumerate(tokens.indices):
        kind = schema.field(f"indices_{level}").type
        values = indices.flatten().cpu().numpy()
        if values.size and (values.min() < 0 or values.max() > np.iinfo(kind.value_type.to_pandas_dtype()).max):
            raise ValueError(f"level {level} holds indices beyond its codebooks; tokenize with the layout's tokenizer")
        values = values.astype(kind.value_type.to_pandas_dtype())
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), type=kind))
    label = tokens.side.get("label")
    columns.append(pa.nulls(len(tokens.key), pa.int64()) if label is None else pa.array(label.cpu().numpy()))
    return pa.Table.from_arrays([*columns, pa.array(tokens.key, pa.string())], schema=schema)


class TokenShards:
    """All shards of a folder, as tensors: `read(rows)` gives `Tokens`.

    Raises ValueError where there is no shard, where shards are damaged or of different tokenizers or grids, and where
    `tokenizer` (a fingerprint) is given and they are of another one.
    """

    def __init__(self, folder: str | os.PathLike[str], tokenizer: str | None = None) -> None:
        self.folder = Path(folder)
        paths = sorted(self.folder.glob("tokens-*.parquet"))
        if not paths:
            raise ValueError(f"{folder} holds no token shards; make some with: vqkit tokenize RUN SOURCE --out DIR")
        try:
            tables = [pq.read_table(path, memory_map=True) for path in paths]
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"a token shard in {folder} is damaged ({error}); delete it and tokenize again") from None
        metadata = tables[0].schema.metadata or {}
        if _TOKENIZER not in metadata or _LAYOUT not in metadata:
            raise ValueError(f"{paths[0]} was not written by vqkit tokenize; name a folder of token shards")
        if any((t.schema.metadata or {}).get(key) != metadata[key] for t in tables for key in (_TOKENIZER, _LAYOUT)):
            raise ValueError(f"{folder} mixes tokens of different tokenizers or grids; tokenize into an empty folder")
        self.tokenizer = metadata[_TOKENIZER].decode()
        if tokenizer is not None and tokenizer != self.tokenizer:
            raise ValueError(
                f"the tokens in {folder} are of tokenizer {self.tokenizer}, not {tokenizer}; tokenize with this run"
            )
        self.layout = _layout(json.loads(metadata[_LAYOUT]))
        table = pa.concat_tables(tables)
        self._levels = [
            torch.from_numpy(_values(table, f"indices_{level}").reshape(len(table), len(sizes), *grid))
            for level, (grid, sizes) in enumerate(zip(self.layout.grids, self.layout.codebook_sizes, strict=True))
        ]
        labels = table.column("label")
        self._label = None if labels.null_count else torch.from_numpy(labels.to_numpy().copy())
        self._keys = table.column("key")

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, rows: Sequence[int]) -> Tokens:
        """The samples of these rows, in this order."""
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        side = {} if self._label is None else {"label": self._label[chosen]}
        keys = self._keys.take(pa.array(chosen.numpy())).to_pylist()
        return Tokens(tuple(level[chosen].long() for level in self._levels), side, keys)


def _layout(fields: dict[str, object]) -> Layout:
    grids, sizes = (tuple(tuple(level) for level in fields[name]) for name in ("grids", "codebook_sizes"))  # type: ignore[attr-defined]
    return Layout(grids, sizes, int(fields["classes"]))  # type: ignore[call-overload]


def _values(table: pa.Table, name: str) -> np.ndarray:
    """One column of fixed-size lists as one flat array, in a dtype that torch knows."""
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column(name).chunks])
    return flat.astype(np.int32) if flat.dtype in (np.uint16, np.uint32) else flat

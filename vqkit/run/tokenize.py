"""A source -> token shards, by a run's tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_source, sweep
from vqkit.progress import Progress
from vqkit.run.run import SPLITS, Run
from vqkit.tokens import Tokens, TokenShards, shard_path, source_of, write_shard

_BATCH = 256  # samples encoded at a time
_SHARD = 65_536  # samples a token shard


def tokenize_source(
    run: Run, source: str, out: str | os.PathLike[str], strict: bool = False, bar: bool | None = None
) -> dict[str, int]:
    """Both splits of a source as token shards in OUT/train and OUT/validation; returns how many samples each has, and
    how many were skipped. Raises ValueError like `tokenize`, and where the source cannot be read."""
    opened, skipped = open_source(source), 0
    counts: dict[str, int] = {}
    single = sum(len(records.keys) for records in opened.splits.values()) == 1
    for split in ("all",) if single else SPLITS:
        data = run.dataset(split, opened, strict)
        counts[split] = len(tokenize(run, data, Path(out) / split, bar))
        skipped += data.skipped
    return {**counts, "skipped": skipped}


def tokenize(run: Run, data: Dataset, out: str | os.PathLike[str], bar: bool | None = None) -> TokenShards:
    """Token shards of a data set in the folder `out`; one that was stopped goes on where it stopped. Raises ValueError
    where the folder holds other tokens, or the run's model has none."""
    out, tokenizer, layout = Path(out), run.tokenizer, run.layout
    if any(out.glob("tokens-*.parquet")):
        TokenShards(out, run.fingerprint)  # refuses a folder of another tokenizer's tokens
    with Progress(f"tokens of {out.name}", len(data), "sample", bar) as progress:
        for number, start in enumerate(range(0, len(data), _SHARD)):
            rows, path = range(start, min(start + _SHARD, len(data))), shard_path(out, number)
            source = _fingerprint(data, rows)
            if path.exists():
                if source_of(path) != source:
                    raise ValueError(f"{path} holds tokens of other samples; tokenize into an empty folder")
                progress.advance(len(rows))
            else:
                write_shard(path, _encode(tokenizer, data, rows, progress), layout, run.fingerprint, source)
    return TokenShards(out, run.fingerprint)


def _fingerprint(data: Dataset, rows: range) -> str:
    """What names these samples: their keys, and the content of the first and the last."""
    digest = hashlib.sha256("\n".join(data.keys[row] for row in rows).encode("utf-8", "surrogateescape"))
    digest.update(data.read([rows[0], rows[-1]]).x.numpy().tobytes())
    return digest.hexdigest()[:16]


def _encode(tokenizer: Autoencoder, data: Dataset, rows: range, progress: Progress) -> Iterator[Tokens]:
    for batch in sweep(data, _BATCH, rows):
        indices = tokenizer.encode(batch.x.to(tokenizer.device), batch.side, batch.mask)
        yield Tokens(indices, batch.side, batch.key)
        progress.advance(len(batch.key))

"""Token shards come back as they were written, to this library and to any other reader of Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqkit.signal import Layout
from vqkit.tokens import Tokens, TokenShards, shard_path, write_shard

LAYOUTS = {
    "one level": Layout(((4, 4),), ((512,),)),
    "levels and codebooks": Layout(((2, 2), (4, 4)), ((5,), (9, 300)), 10),
    "1d": Layout(((7,),), ((256, 256),)),
    "video": Layout(((2, 2, 3),), ((1,),), 3),
}
FINGERPRINT = "0123456789abcdef"


def tokens(layout: Layout, count: int = 3, first: int = 0) -> Tokens:
    """Random ones, with the highest symbol of every codebook among them."""
    generator = torch.Generator().manual_seed(first)
    levels = []
    for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True):
        level = torch.stack([torch.randint(size, (count, *grid), generator=generator) for size in sizes], 1)
        level[0].view(len(sizes), -1)[:, -1] = torch.tensor(sizes) - 1
        levels.append(level)
    side = {"label": torch.arange(first, first + count) % layout.classes} if layout.classes else {}
    return Tokens(tuple(levels), side, [f"sample {i}" for i in range(first, first + count)])


def write(folder: Path, layout: Layout, shards: int = 2, batches: int = 2) -> list[Tokens]:
    written = [tokens(layout, 3, 3 * i) for i in range(shards * batches)]
    for number in range(shards):
        batch = written[number * batches : (number + 1) * batches]
        write_shard(shard_path(folder, number), iter(batch), layout, FINGERPRINT)
    return written


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.mark.parametrize("shards", [1, 3])
def test_tokens_come_back(tmp_path: Path, layout: Layout, shards: int) -> None:
    written = write(tmp_path, layout, shards)
    found = TokenShards(tmp_path, FINGERPRINT)
    assert len(found) == 6 * shards and found.layout == layout and found.tokenizer == FINGERPRINT
    everything = found.read(range(len(found)))
    assert everything.key == [key for each in written for key in each.key]
    for number, level in enumerate(everything.indices):
        assert level.dtype == torch.int64
        assert torch.equal(level, torch.cat([each.indices[number] for each in written]))
    assert list(everything.side) == (["label"] if layout.classes else [])
    if layout.classes:
        assert torch.equal(everything.side["label"], torch.cat([each.side["label"] for each in written]))


def test_rows_come_in_the_order_asked_for(tmp_path: Path, layout: Layout) -> None:
    write(tmp_path, layout)
    found = TokenShards(tmp_path)
    rows = [11, 0, 5, 5]
    picked, everything = found.read(rows), found.read(range(12))
    assert picked.key == [everything.key[row] for row in rows]
    for some, level in zip(picked.indices, everything.indices, strict=True):
        assert torch.equal(some, level[rows])
    if layout.classes:
        assert torch.equal(picked.side["label"], everything.side["label"][rows])


@pytest.mark.parametrize(
    ("size", "kind"),
    [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (1 << 20, "uint32")],
)
def test_an_index_takes_no_more_bytes_than_it_needs(tmp_path: Path, size: int, kind: str) -> None:
    layout = Layout(((2, 3),), ((size,),))
    (written,) = write(tmp_path, layout, 1, 1)
    column = pq.read_schema(shard_path(tmp_path, 0)).field("indices_0").type
    assert str(column.value_type) == kind and column.list_size == 6
    assert torch.equal(TokenShards(tmp_path).read(range(3)).indices[0], written.indices[0])


def test_pyarrow_alone_reads_the_same_numbers(tmp_path: Path) -> None:
    layout = LAYOUTS["levels and codebooks"]
    written = write(tmp_path, layout, 1, 1)[0]
    table = pq.read_table(tmp_path / "tokens-00000.parquet")
    assert table.column_names == ["indices_0", "indices_1", "label", "key"]
    for number, level in enumerate(written.indices):
        rows = np.array(table.column(f"indices_{number}").to_pylist())
        assert np.array_equal(rows.reshape(level.shape), level.numpy())
    assert table.column("label").to_pylist() == written.side["label"].tolist()
    assert table.column("key").to_pylist() == written.key
    metadata = table.schema.metadata
    assert metadata[b"vqkit.tokenizer"].decode() == FINGERPRINT
    assert json.loads(metadata[b"vqkit.layout"]) == {
        "grids": [[2, 2], [4, 4]], "codebook_sizes": [[5], [9, 300]], "classes": 10,
    }  # fmt: skip


def test_no_label_is_null_on_disk(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["one level"], 1, 1)
    assert pq.read_table(shard_path(tmp_path, 0)).column("label").to_pylist() == [None] * 3


def test_any_strides_are_written_in_order(tmp_path: Path) -> None:
    layout = Layout(((4, 4),), ((100,),))
    level = torch.randint(100, (2, 1, 4, 4)).transpose(2, 3)
    write_shard(shard_path(tmp_path, 0), [Tokens((level,), {}, ["a", "b"])], layout, FINGERPRINT)
    assert torch.equal(TokenShards(tmp_path).read([0, 1]).indices[0], level)


# ---------------------------------------------------------------- whole or not at all


def interrupted(layout: Layout) -> Iterator[Tokens]:
    yield tokens(layout)
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    layout = LAYOUTS["1d"]
    with pytest.raises(KeyboardInterrupt):
        write_shard(shard_path(tmp_path, 0), interrupted(layout), layout, FINGERPRINT)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_older_shard(tmp_path: Path) -> None:
    layout = LAYOUTS["1d"]
    write(tmp_path, layout, 1)
    before = shard_path(tmp_path, 0).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_shard(shard_path(tmp_path, 0), interrupted(layout), layout, FINGERPRINT)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens-00000.parquet"]
    assert shard_path(tmp_path, 0).read_bytes() == before


def test_a_part_beside_shards_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["1d"], 1)
    (tmp_path / "tokens-00001.part").write_bytes(b"half")
    assert len(TokenShards(tmp_path)) == 6


def test_tokens_of_another_grid_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        write_shard(shard_path(tmp_path, 0), [tokens(Layout(((5, 4),), ((512,),)))], LAYOUTS["one level"], FINGERPRINT)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what is refused


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="holds no token shards; make some with: vqkit tokenize"):
            TokenShards(folder)


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["1d"])
    with pytest.raises(ValueError, match=f"are of tokenizer {FINGERPRINT}, not fedcba9876543210; tokenize with this"):
        TokenShards(tmp_path, "fedcba9876543210")


def test_mixed_shards_are_refused(tmp_path: Path) -> None:
    layout = LAYOUTS["one level"]
    write(tmp_path, layout, 1)
    for other, tokenizer in ((layout, "another"), (layout._replace(grids=((2, 8),)), FINGERPRINT)):
        write_shard(shard_path(tmp_path, 1), [tokens(other)], other, tokenizer)
        with pytest.raises(
            ValueError, match="mixes tokens of different tokenizers or grids; tokenize into an empty folder"
        ):
            TokenShards(tmp_path)


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_a_damaged_shard_is_refused(tmp_path: Path, length: int) -> None:
    write(tmp_path, LAYOUTS["1d"])
    path = shard_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"is damaged .*delete it and tokenize again"):
        TokenShards(tmp_path)


def test_parquet_of_someone_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), shard_path(tmp_path, 0))
    with pytest.raises(ValueError, match="was not written by vqkit tokenize"):
        TokenShards(tmp_path)

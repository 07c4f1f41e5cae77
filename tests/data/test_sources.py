"""Every kind of source, its splits, labels and keys."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image as pillow

from vqkit.data import Records, Split, open_dataset, open_source, tables
from vqkit.data.records import labelled
from vqkit.modality import Image

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 3


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, pixels: np.ndarray = PICTURES[0]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def write_idx(path: Path, array: np.ndarray) -> None:
    data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_parquet(path: Path, rows: slice, names: list[str] | None = None, plain: bool = False) -> None:
    files = [png(pixels) for pixels in PICTURES[rows]]
    cells = files if plain else [{"bytes": file, "path": None} for file in files]
    table = arrow.table({"image": cells, "label": LABELS[rows]})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=7)


def pixels_of(source: Any, split: Split = "train") -> np.ndarray:
    dataset = open_dataset(source, Image(), split)
    return dataset.read(range(len(dataset))).x.permute(0, 2, 3, 1).numpy()


def test_digits() -> None:
    train, held_out = open_dataset("digits", Image()), open_dataset("digits", Image(), "validation")
    assert len(train) + len(held_out) == 1797 and 120 < len(held_out) < 240
    assert not set(train.keys) & set(held_out.keys)
    assert train.signal == held_out.signal
    assert (train.signal.channels, train.signal.grid, train.signal.labels) == (1, (8, 8), tuple("0123456789"))
    batch = train.read(range(len(train)))
    assert (int(batch.x.min()), int(batch.x.max())) == (0, 255)
    assert open_dataset("digits", Image()).keys == train.keys


def test_shapes() -> None:
    source = open_source("shapes:size=32,count=40,seed=3")
    records = source.splits["train"]
    again = open_source("shapes:size=32,count=20,seed=3").splits["train"]
    seventh, eighth, same = (np.asarray(cell) for cell in (records.cells[7], records.cells[8], again.cells[7]))
    assert np.array_equal(seventh, same) and not np.array_equal(seventh, eighth)
    dataset = open_dataset(source, Image(), "all")
    assert dataset.signal.grid == (32, 32) and dataset.captions is not None and dataset.labels is not None
    for caption, label in zip(dataset.captions, dataset.labels.tolist(), strict=True):
        assert caption.split()[2] == dataset.signal.labels[label]
    assert open_dataset("shapes:16", Image(), "validation").signal.grid == (16, 16)
    for options in ("shapes:big", "shapes:size=x", "shapes:size=4"):
        with pytest.raises(ValueError, match="shapes"):
            open_source(options)


def test_folder_of_classes(tmp_path: Path) -> None:
    for name in ("b/1.png", "b/deep/2.PNG", "a/3.png", "a/.hidden.png", ".git/4.png", "a/notes.txt"):
        write(tmp_path / name)
    records = open_source(tmp_path).splits["train"]
    assert list(records.keys) == ["a/3.png", "b/1.png", "b/deep/2.PNG"]
    assert records.label_names == ("a", "b") and records.labels is not None and records.labels.tolist() == [0, 1, 1]


def test_flat_folder_and_single_picture_are_unlabelled(tmp_path: Path) -> None:
    write(tmp_path / "flat/1.png")
    write(tmp_path / "flat/sub/2.png")
    assert open_source(tmp_path / "flat").splits["train"].labels is None
    write(tmp_path / "one/pictures/1.png")
    assert open_source(tmp_path / "one").splits["train"].labels is None
    source = open_source(tmp_path / "flat/1.png")
    assert np.array_equal(pixels_of(source, "all")[0], PICTURES[0])
    with pytest.raises(ValueError, match="one sample"):
        source.split("train")


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_folder_of_splits(tmp_path: Path, held_out: str) -> None:
    for name in ("train/b/1.png", "train/c/1.png", f"{held_out}/b/1.png", f"{held_out}/a/2.png"):
        write(tmp_path / name)
    source = open_source(tmp_path)
    train, validation = source.split("train"), source.split("validation")
    assert train.label_names == validation.label_names == ("a", "b", "c")
    assert train.labels is not None and train.labels.tolist() == [1, 2]
    assert validation.labels is not None and validation.labels.tolist() == [0, 1]
    assert len(set(source.split("all").keys)) == 4
    if held_out != "test":
        with pytest.raises(ValueError, match="no split test; it has train and validation"):
            source.split("test")


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", PICTURES)
    assert np.array_equal(pixels_of(tmp_path / "x.npy", "all"), PICTURES)
    np.save(tmp_path / "first.npy", PICTURES.transpose(0, 3, 1, 2))
    assert np.array_equal(pixels_of(tmp_path / "first.npy", "all"), PICTURES)
    np.savez(tmp_path / "x.npz", images=PICTURES[..., 0], labels=LABELS[:, None])
    records = open_source(tmp_path / "x.npz").splits["train"]
    assert records.label_names == ("0", "1", "2") and np.array_equal(records.labels, LABELS)  # type: ignore[arg-type]
    np.savez(tmp_path / "pairs.npz", x_train=PICTURES, y_train=LABELS, x_test=PICTURES[:5], y_test=LABELS[:5])
    source = open_source(tmp_path / "pairs.npz")
    assert len(source.split("train").keys) == 40 and len(source.split("validation").keys) == 5
    np.savez(tmp_path / "positional.npz", PICTURES)
    assert len(open_source(tmp_path / "positional.npz").splits["train"].keys) == 40


def test_bad_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "float.npy", PICTURES / 255)
    with pytest.raises(ValueError, match="store uint8"):
        open_source(tmp_path / "float.npy")
    np.savez(tmp_path / "names.npz", a=PICTURES)
    with pytest.raises(ValueError, match="name the pictures x"):
        open_source(tmp_path / "names.npz")
    np.savez(tmp_path / "count.npz", x=PICTURES, y=LABELS[:3])
    with pytest.raises(ValueError, match="40 pictures and 3 labels"):
        open_source(tmp_path / "count.npz")
    np.save(tmp_path / "whole.npy", PICTURES)
    for data in (b"", b"text", b"PK\x03\x04", (tmp_path / "whole.npy").read_bytes()[:-9]):
        for name in ("cut.npy", "cut.npz"):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(ValueError, match=rf"{name} is damaged or holds no plain numbers; save it again"):
                open_source(tmp_path / name)
    for labels, found in ((LABELS - 1, "a label -1"), (LABELS / 2, "labels of float64")):
        np.savez(tmp_path / "labels.npz", x=PICTURES, y=labels)
        with pytest.raises(ValueError, match=rf"labels.npz holds {found}; number the classes in whole numbers from 0"):
            open_source(tmp_path / "labels.npz")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path: Path, suffix: str) -> None:
    for split, rows in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte{suffix}", PICTURES[rows, ..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte{suffix}", LABELS[rows])
    source = open_source(tmp_path)
    assert np.array_equal(pixels_of(source), PICTURES[:30, ..., :1])
    assert np.array_equal(source.split("validation").labels, LABELS[30:])  # type: ignore[arg-type]
    alone = open_source(tmp_path / f"t10k-images-idx3-ubyte{suffix}")
    assert len(alone.splits["train"].keys) == 10 and alone.splits["train"].labels is not None
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="download it again"):
        open_source(tmp_path)


def test_parquet_folder(tmp_path: Path) -> None:
    names = ["cat", "dog", "eel"]
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", slice(0, 20), names)
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", slice(20, 30), names)
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", slice(30, 40), names)
    source = open_source(tmp_path)
    assert np.array_equal(pixels_of(source), PICTURES[:30])
    assert np.array_equal(pixels_of(source, "validation"), PICTURES[30:])
    train = source.split("train")
    assert train.label_names == tuple(names) and np.array_equal(train.labels, LABELS[:30])  # type: ignore[arg-type]


def test_parquet_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", slice(0, 40), plain=True)
    source = open_source(tmp_path / "a.parquet")
    assert np.array_equal(pixels_of(source, "all"), PICTURES) and source.splits["train"].label_names == ("0", "1", "2")
    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="only text"):
        open_source(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        open_source(tmp_path / "c.parquet")


def test_large_parquet_goes_through_a_mapped_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", slice(0, 40), ["cat", "dog", "eel"])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "IN_MEMORY_BYTES", 0)
    source = open_source(tmp_path / "a.parquet")
    assert np.array_equal(pixels_of(source, "all"), PICTURES)
    assert source.splits["train"].label_names == ("cat", "dog", "eel")


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "eel"])})
    columns = {"img": [{"bytes": png(x), "path": None} for x in PICTURES], "label": LABELS.tolist()}
    data = datasets.Dataset.from_dict(columns, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: datasets.DatasetDict(train=data, test=data.select([3])))
    source = open_source("hf://owner/name")
    assert np.array_equal(pixels_of(source), PICTURES)
    assert np.array_equal(pixels_of(source, "validation"), PICTURES[3:4])
    assert source.split("train").label_names == ("cat", "dog", "eel")

    def offline(*name: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ValueError, match=r"hf://owner/name cannot be loaded"):
        open_source("hf://owner/name")


def test_withheld_labels(tmp_path: Path) -> None:
    for split, labels in (("train", LABELS), ("test", np.full(40, -1))):
        table = arrow.table({"image": [png(x) for x in PICTURES], "label": labels})
        parquet.write_table(table, tmp_path / f"{split}.parquet")
    splits = open_source(tmp_path).splits
    assert splits["train"].labels is not None and splits["test"].labels is None


def test_a_divided_split_is_stable(tmp_path: Path) -> None:
    for i in range(60):
        write(tmp_path / f"{i}.png")
    before = set(open_source(tmp_path).split("validation", 0.3).keys)
    train = set(open_source(tmp_path).split("train", 0.3).keys)
    assert not before & train and len(before | train) == 60 and 5 < len(before) < 30
    for i in range(60, 80):
        write(tmp_path / f"{i}.png")
    after = set(open_source(tmp_path).split("validation", 0.3).keys)
    assert before <= after and {key for key in after if int(key[:-4]) < 60} == before
    assert len(open_source(tmp_path).split("validation", 1e-9).keys) == 1
    assert len(open_source(tmp_path).split("train", 1 - 1e-9).keys) == 1
    with pytest.raises(ValueError, match="validation_share"):
        open_source(tmp_path).split("train", 0.0)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean digits"):
        open_source("digit")
    with pytest.raises(ValueError, match="neither a file, a folder nor a built-in"):
        open_source(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"holds no .*png"):
        open_source(tmp_path)
    write(tmp_path / "one" / "1.png")
    with pytest.raises(ValueError, match=r"holds one sample, and one must be held out; add others$"):
        open_source(tmp_path / "one").split("train")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="is no picture"):
        open_source(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (arrow.array([0, None, 1]), "nulls"),
        (arrow.array(["a", None, "b"]), "nulls"),
        (arrow.nulls(3), "nulls"),
        (arrow.array([[0], [1], [0, 1]]), "values of type list"),
        (arrow.array([0.0, 0.5, 1.0]), "values of type double"),
    ],
)
def test_unusable_label_columns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, labels: arrow.Array, found: str
) -> None:
    parquet.write_table(arrow.table({"image": [png(x) for x in PICTURES[:3]], "label": labels}), tmp_path / "a.parquet")
    records = open_source(tmp_path / "a.parquet").split("all")
    assert records.labels is None and records.label_names == () and len(records.keys) == 3
    assert [(r.name, r.levelname) for r in caplog.records] == [("vqkit", "WARNING")]
    assert f"its column label holds {found}" in caplog.text


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (arrow.array([0, 1, 1], arrow.uint8()), ("0", "1")),
        (arrow.array([False, True, True]), ("0", "1")),
        (arrow.array(["a", "b", "b"]), ("a", "b")),
        (arrow.array(["a", "b", "b"], arrow.large_string()), ("a", "b")),
        (arrow.array(["a", "b", "b"]).dictionary_encode(), ("a", "b")),
    ],
)
def test_label_columns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, labels: arrow.Array, names: tuple[str, ...]
) -> None:
    parquet.write_table(arrow.table({"image": [png(x) for x in PICTURES[:3]], "label": labels}), tmp_path / "a.parquet")
    records = open_source(tmp_path / "a.parquet").split("all")
    assert records.label_names == names and records.labels is not None and records.labels.tolist() == [0, 1, 1]
    assert not caplog.records


def test_one_negative_label_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, labels in (("train", [0, -1, 1]), ("test", [0, 1, 1])):
        table = arrow.table({"image": [png(x) for x in PICTURES[:3]], "label": labels})
        parquet.write_table(table, tmp_path / f"{split}.parquet")
    splits = open_source(tmp_path).splits
    assert splits["train"].labels is None and splits["test"].labels is not None
    assert [record.getMessage() for record in caplog.records] == [
        "split train has negative labels and counts as unlabelled; number the classes from 0 to use them"
    ]


def test_labels_that_are_identifiers_are_renumbered(tmp_path: Path) -> None:
    x = PICTURES[:3]
    np.savez(tmp_path / "x.npz", x_train=x, y_train=[10**6, 7, 10**6], x_test=x, y_test=[7, 1500, 7])
    splits = open_source(tmp_path / "x.npz").splits
    assert [r.labels.tolist() for r in splits.values() if r.labels is not None] == [[2, 0, 2], [0, 1, 0]]
    assert {r.label_names for r in splits.values()} == {("7", "1500", "1000000")}
    np.savez(tmp_path / "few.npz", x=x, y=[0, 999, 5])
    records = open_source(tmp_path / "few.npz").split("all")
    assert len(records.label_names) == 1000 and records.labels is not None and records.labels.tolist() == [0, 999, 5]
    names = [f"class {i}" for i in range(1501)]
    named = labelled({"train": Records([], [], np.array([1500]))}, names)["train"]
    assert named.label_names == tuple(names)  # the source knows them all


def test_empty_splits(tmp_path: Path) -> None:
    write_parquet(tmp_path / "both/train-0.parquet", slice(0, 9))
    empty = arrow.table({"image": arrow.array([], arrow.binary()), "label": arrow.array([], arrow.int64())})
    parquet.write_table(empty, tmp_path / "both/test-0.parquet")
    parquet.write_table(empty, tmp_path / "none.parquet")
    both, none = open_source(tmp_path / "both"), open_source(tmp_path / "none.parquet")
    assert len(both.split("train").keys) == 9
    with pytest.raises(ValueError, match="its split test is empty"):
        both.split("validation")
    assert both.split("all").labels is not None and np.array_equal(pixels_of(both, "all"), PICTURES[:9])
    for split in ("train", "validation", "all"):
        with pytest.raises(ValueError, match=r"none.parquet cannot be used because it is empty"):
            none.split(split)

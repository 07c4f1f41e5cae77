"""Decoding: at once or batch by batch, with samples that are broken or of different shapes."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from vqkit.data import Dataset, Records, open_dataset, open_source, sweep
from vqkit.modality import Cell, Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty JPEGs of 16x12 in two classes, one of them cut short, and a text file that calls itself a PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 16, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        path = tmp_path / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        pillow.fromarray(picture).save(path)
    cut = tmp_path / "a" / "06.jpg"
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "b" / "99.png").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_broken_pictures_are_left_out_and_counted(folder: Path, budget: int) -> None:
    records = open_source(folder).split("all")
    dataset = Dataset(records, Image(), memory_budget=budget)
    assert dataset.in_memory == bool(budget) and len(dataset) == (19 if budget else 21)
    for _ in range(2):
        batch = dataset.read(range(len(dataset)))
        assert dataset.skipped == 2
        assert batch.x.shape == (19, 3, 12, 16) and batch.x.dtype == torch.uint8 and batch.mask is None
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert "a/06.jpg" not in batch.key and len(batch.key) == 19
        assert batch.side["label"].tolist() == [int(key[0] == "b") for key in batch.key]
        for x, key in zip(batch.x, batch.key, strict=True):
            assert np.array_equal(x.permute(1, 2, 0), np.asarray(pillow.open(folder / key)))

    def read_strictly() -> None:
        strict = Dataset(records, Image(), strict=True, memory_budget=budget)
        strict.read(range(len(strict)))

    with pytest.raises(ValueError, match=r"a/06.jpg: .*cannot be read"):
        read_strictly()


def test_rows_come_in_the_order_asked_for(folder: Path) -> None:
    records = open_source(folder).split("all")
    for budget in (0, 1 << 30):
        dataset = Dataset(records, Image(channels=1), memory_budget=budget)
        keys = [dataset.keys[row] for row in (8, 1, 1)]
        assert dataset.read(torch.tensor([8, 1, 1])).key == dataset.read(np.array([8, 1, 1])).key == keys
        assert dataset.labels is not None and len(dataset.labels) == len(dataset)


def test_nothing_decodes(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(ValueError, match="none of 2 samples"):
        open_dataset(tmp_path, Image(), "all")


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_sizes_and_channels_must_agree_or_be_set(tmp_path: Path, budget: int) -> None:
    pillow.new("RGB", (32, 32)).save(tmp_path / "1.png")
    pillow.new("RGB", (48, 40)).save(tmp_path / "2.png")
    records = open_source(tmp_path).split("all")
    with pytest.raises(ValueError, match=r"pictures are 32x32 and 48x40; set modality.size"):
        Dataset(records, Image(), memory_budget=budget).read([0, 1])
    assert Dataset(records, Image(size=16), memory_budget=budget).read([0, 1]).x.shape == (2, 3, 16, 16)
    pillow.new("L", (32, 32)).save(tmp_path / "2.png")
    with pytest.raises(ValueError, match=r"set modality.channels"):
        Dataset(records, Image(), memory_budget=budget).read([0, 1])
    assert Dataset(records, Image(channels=1), memory_budget=budget).signal.channels == 1


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="the data set is empty"):
        Dataset(Records([], []), Image())


def test_a_batch_of_broken_samples_comes_out_as_the_next_that_decodes() -> None:
    cells: list[Cell] = [b"broken" if i in (2, 3, 4, 7, 8) else np.full((2, 2), i, np.uint8) for i in range(9)]
    records = Records(cells, list("abcdefghi"), np.arange(9), tuple("abcdefghi"))
    for _ in range(2):
        dataset = Dataset(records, Image(), memory_budget=0)
        for rows, key in (([2, 3], "f"), ([8, 7], "a"), ([7], "a"), ([7, 8], "a"), ([4, 2, 3], "f")):
            batch = dataset.read(rows)
            row = "abcdefghi".index(key)
            assert batch.key == [key] and batch.side["label"].tolist() == [row] and batch.x.unique().tolist() == [row]
        assert dataset.skipped == 5 and len(dataset.read([]).key) == 0
    assert all(batch.key for batch in sweep(dataset, 1))


def test_nothing_decodes_any_more(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        pillow.new("L", (4, 4)).save(tmp_path / name)
    dataset = Dataset(open_source(tmp_path).split("all"), Image(), memory_budget=0)
    for path in tmp_path.iterdir():
        path.write_text("no picture")
    with pytest.raises(ValueError, match=r"none of 2 samples, 1.png the first"):
        dataset.read([1])


def test_another_size_found_while_reading_says_what_it_says_up_front() -> None:
    cells: list[Cell] = [np.zeros((4, 4), np.uint8), b"broken", np.zeros((6, 5), np.uint8)]
    records = Records(cells, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"set modality.size") as up_front:
        Dataset(records, Image())
    for rows in ([0, 1, 2], [1]):  # [1]: found by the sample that stands in for the broken one
        with pytest.raises(ValueError, match=r"set modality.size") as reading:
            list(sweep(Dataset(records, Image(), memory_budget=0), 3, rows))
        assert str(reading.value) == str(up_front.value)


def test_a_failing_machine_breaks_no_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(open_source(folder).split("all"), Image(), memory_budget=0)

    def fail(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Too many open files"):
        dataset.read([0, 1])
    assert dataset.skipped == 0

"""The metrics file: a table that grows, and that goes back to the checkpoint."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from vqkit.training.metrics import MetricsFile, read_rows


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [{"step": 1.0, "loss": 0.1 + 0.2}, {"step": 2.0, "loss": 1e-30}]
    metrics = MetricsFile(path, 0)
    for row in rows:
        metrics.append(row)
        assert read_rows(path)[-1] == row  # at once, for those who look on
    assert read_rows(path) == rows


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.csv") == []
    MetricsFile(tmp_path / "metrics.csv", 0)
    assert read_rows(tmp_path / "metrics.csv") == []


def test_a_new_column_keeps_the_rows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, 0)
    rows = [{"step": 1.0, "loss": 3.0}, {"step": 2.0, "val": 4.0}, {"step": 3.0, "loss": 2.0}]
    for row in rows:
        metrics.append(row)
    assert read_rows(path) == rows  # empty cells are left out
    with path.open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [["step", "loss", "val"], ["1.0", "3.0", ""], ["2.0", "", "4.0"], ["3.0", "2.0", ""]]


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, 0)
    for step in range(1, 6):
        metrics.append({"step": float(step), "loss": float(-step)})
    again = MetricsFile(path, 3)
    assert [row["step"] for row in read_rows(path)] == [1, 2, 3]
    again.append({"step": 4.0, "loss": 7.0})
    assert read_rows(path)[-1] == {"step": 4.0, "loss": 7.0}
    MetricsFile(path, 0)
    assert read_rows(path) == []


def test_a_loss_that_is_no_number_is_kept(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv", 0)
    metrics.append({"step": 1.0, "loss": math.nan, "norm": math.inf})
    (row,) = read_rows(tmp_path / "metrics.csv")
    assert math.isnan(row["loss"]) and row["norm"] == math.inf

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from vqkit.evaluation import GENERATION, classification_accuracy, classification_rows, rows, table
from vqkit.features import Labelled
from vqkit.signal import Batch, Signal

SIGNAL = Signal(1, (4, 4), 0, 255, 256, tuple("abcdef"))


def real(n: int, seed: int) -> Labelled:
    """Noise whose brightness is the class."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 6, (n,), generator=generator)
    x = torch.randint(0, 50, (n, 1, 4, 4), generator=generator) + 40 * label.view(n, 1, 1, 1)
    return Labelled(x.byte(), label)


def test_samples_are_worth_what_they_teach() -> None:
    held_out = real(300, 1)
    batch = Batch(held_out.x, None, {"label": held_out.label}, [""] * 300)
    shuffled = Labelled(real(400, 0).x, real(400, 3).label)
    found = classification_accuracy(
        SIGNAL,
        {"real": lambda: real(400, 0), "samples": lambda: real(400, 2), "of no class": lambda: shuffled},
        lambda: [batch],
        steps=60,
        bar=False,
    )
    assert json.loads(json.dumps(found)) == found
    assert found["real"]["top_1"] > 0.9 and found["samples"]["top_1"] > 0.9
    assert abs(found["samples"]["top_1"] - found["real"]["top_1"]) < 0.05
    assert abs(found["of no class"]["top_1"] - 1 / 6) < 0.1  # chance
    assert found["real"]["top_5"] >= found["real"]["top_1"]
    assert (found["real"]["trained_on"], found["real"]["tested_on"]) == (400, 300)


def test_of_five_classes_the_five_likeliest_say_nothing() -> None:
    few = SIGNAL._replace(labels=tuple("abcde"))
    samples = Labelled(real(8, 0).x, torch.arange(8) % 5)
    batch = Batch(samples.x, None, {"label": samples.label}, [""] * 8)
    found = classification_accuracy(few, {"real": lambda: samples}, lambda: [batch], steps=1, bar=False)
    assert found["real"]["top_5"] is None
    (row,) = classification_rows(found)
    assert row.source == "Real" and row.values[1] == "—"


def test_the_table_has_the_published_layout_beside_the_splits() -> None:
    numbers = {name: {"top_1": 0.5, "top_5": 0.97125} for name in ("real", "reconstructions", "samples")}
    evaluation = {"train": {"psnr": 20.0}, "validation": {"psnr": 19.0}, GENERATION: {"classification": numbers}}
    assert [row.values for row in rows(evaluation)] == [["20.00", "19.00"]]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(evaluation))
    text = console.export_text()
    assert "Top-1, %" in text and "Reconstructions" in text and "50.00" in text and "97.1" in text
    assert GENERATION not in text
    with pytest.raises(StopIteration):
        next(classification_rows({}))

"""Progress where there is no terminal: lines, few enough to read."""

from __future__ import annotations

import pytest

from vqkit import progress
from vqkit.progress import Progress


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Progress("tokenizer", 1500, "step", start=200) as stage:
        stage.advance(50, "loss 0.2")
        stage.advance(250, "loss 0.1", told=True)
        monkeypatch.setattr(progress, "_EVERY", -1.0)
        stage.advance(1000)
    assert capsys.readouterr().err.splitlines() == [
        "tokenizer: 200 of 1,500 steps",
        "tokenizer: 500 of 1,500 steps: loss 0.1",
        "tokenizer: 1,500 of 1,500 steps",
    ]


def test_a_bar_or_silence_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for bar in (True, False):
        with Progress("prior", 8, "step", bar) as stage:
            stage.advance(8, "loss 0.1", told=True)
        told = capsys.readouterr().err
        assert ("8/8" in told) if bar else not told

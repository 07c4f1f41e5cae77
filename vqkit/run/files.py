"""Files in, their reconstructions out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from vqkit.data import named_files, told_apart
from vqkit.run.run import Run
from vqkit.signal import Side


def reconstruct_files(
    run: Run,
    files: Sequence[str],
    out: str | os.PathLike[str],
    levels: int | None = None,
    label: int | str | None = None,
) -> list[Path]:
    """Each file, and each of a folder's, through the bottlenecks, the first `levels` alone if that is given, into the
    folder `out` under the same name as .png; returns the paths. Names that clash are told apart by their folders.

    `label` is the class of all of them, where the decoder must be told one. Raises ValueError where a file cannot be
    read, is of another size, or would be replaced, and where the decoder lacks a label or has no use for it.
    """
    modality, out = run.recipe.modality, Path(out)
    sources, xs = named_files(files, modality.suffixes), []
    side = _side(run, len(sources), label)
    for file in sources:  # all are read before anything is written
        shape = (x := modality.decode(file)).shape
        if shape != (*run.tokenizer.signal.grid, run.tokenizer.signal.channels):
            raise ValueError(f"{file} is {list(shape)}, this run takes {list(run.tokenizer.signal.grid)}; resize it")
        xs.append(torch.from_numpy(x.copy()).movedim(-1, 0))
    paths = [out / name for name in told_apart([file.with_suffix(".png") for file in sources])]
    if {path.resolve() for path in paths} & {file.resolve() for file in sources}:
        raise ValueError(f"the reconstructions would replace files in {out}; name another folder")
    for x_hat, path in zip(run.reconstruct(torch.stack(xs), side, levels), paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        modality.save(x_hat, path)
    return paths


def _side(run: Run, n: int, label: int | str | None) -> Side:
    """What the decoder is told of `n` samples of one class."""
    if not run.tokenizer.decoder.classes:
        if label is not None:
            raise ValueError("this run's decoder is told no label; leave label out")
        return {}
    if label is None:
        names = ", ".join(run.tokenizer.signal.labels)
        raise ValueError(f"this run's decoder is told a label; give the files' one as label, of {names}")
    labels = run.labels(n, label)
    assert labels is not None
    return {"label": labels}

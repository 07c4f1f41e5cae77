"""Files in, their reconstructions out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from vqkit.autoencoders import takes_any_size
from vqkit.data import named_files, told_apart
from vqkit.modality import Modality
from vqkit.run.run import Run
from vqkit.signal import Side

_TOGETHER = 1 << 22  # values of files of one size that are reconstructed at a time


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
    read, `read_file` refuses its size, or it would be replaced, and where the decoder lacks a label or has no use for
    it.
    """
    modality, out = run.recipe.modality, Path(out)
    sources = named_files(files, modality.suffixes)
    _side(run, 1, label)  # refuses a label before any file is read, and a file before any is written
    shapes = [read_file(run, file).shape for file in sources]
    paths = [out / name for name in told_apart([file.with_suffix(".png") for file in sources])]
    if {path.resolve() for path in paths} & {file.resolve() for file in sources}:
        raise ValueError(f"the reconstructions would replace files in {out}; name another folder")
    for shape, alike in groupby(range(len(sources)), shapes.__getitem__):
        numbers, together = [*alike], max(1, _TOGETHER // math.prod(shape))
        for some in (numbers[start : start + together] for start in range(0, len(numbers), together)):
            x = torch.stack([read_file(run, sources[number]) for number in some])
            for number, x_hat in zip(some, run.reconstruct(x, _side(run, len(x), label), levels), strict=True):
                paths[number].parent.mkdir(parents=True, exist_ok=True)
                modality.save(x_hat, paths[number])
    return paths


def read_file(run: Run, file: str | os.PathLike[str]) -> Tensor:
    """A file's sample x [C, *grid] in native values, with the run's channels: of its own size where the tokenizer takes
    any, else fitted to the tokenizer's as the recipe says. Raises ValueError where it cannot be read, or is of another
    size than the tokenizer's after all."""
    signal = run.tokenizer.signal
    x = torch.from_numpy(_modality(run).decode(Path(file)).copy()).movedim(-1, 0)
    if x.shape != (signal.channels, *signal.grid) and not takes_any_size(run.tokenizer):
        raise ValueError(
            f"{file} is {[*x.shape[1:], x.shape[0]]}, this run takes {[*signal.grid, signal.channels]}; resize it"
        )
    return x


def refuse_taken(path: Path) -> None:
    """Raises ValueError where something is there already."""
    if path.exists():
        raise ValueError(f"{path} would be replaced; name another place")


@contextmanager
def named(source: Path) -> Iterator[None]:
    """Says which file a mistake is in."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def refuse_loss(run: Run, file: str | os.PathLike[str]) -> None:
    """Raises ValueError where `read_file` refuses a file, or does not give all that it holds."""
    read_file(run, file)
    if left_out := _modality(run).left_out(Path(file)):
        raise ValueError(f"{file} has {left_out}, which would be lost; convert it, or leave --lossless out")


def _modality(run: Run) -> Modality:
    """How files are read."""
    modality = run.recipe.modality
    return modality.unfitted(run.tokenizer.signal.channels) if takes_any_size(run.tokenizer) else modality


def _side(run: Run, n: int, label: int | str | None) -> Side:
    """What the decoder is told of `n` samples of one class."""
    if label is not None and not run.tokenizer.decoder.classes:
        raise ValueError("this run's decoder is told no label; leave label out")
    number = label_of(run, label)
    return {} if number is None else {"label": torch.full((n,), number)}


def label_of(run: Run, label: int | str | None) -> int | None:
    """The number of a class by name or number. Raises ValueError where there is no such class, and where the decoder
    must be told one."""
    if label is not None:
        labels = run.labels(1, label)
        assert labels is not None  # a run without labels has refused it
        return int(labels)
    if run.tokenizer.decoder.classes:
        names = ", ".join(run.tokenizer.signal.labels)
        raise ValueError(f"this run's decoder is told a label; give the files' one as label, of {names}")
    return None

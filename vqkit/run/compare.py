"""Runs beside classical codecs, on the same pictures, from the bytes of their files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqkit.data import Records, Split, open_source, spread
from vqkit.evaluation import Comparison, classical, compare
from vqkit.modality import Image
from vqkit.report import rate_distortion_figures
from vqkit.run.picture_codec import RunCodec, named_runs
from vqkit.run.run import Run


def compare_runs(
    runs: Sequence[str],
    out: str | os.PathLike[str],
    data: str | None = None,
    size: int | None = None,
    samples: int = 100,
    sheet: int = 1,
    codecs: Sequence[str] | None = None,
    bare: bool = False,
    bar: bool | None = None,
) -> Comparison:
    """Every quality of every run, and classical codecs, on up to `samples` pictures; written to the folder `out`:
    points.csv, comparison.json, and a figure for each measure of quality, such as psnr.svg.

    Args:
        runs: folders; or NAME=RUN,RUN,..., several runs that make one curve, such as PCA at several steps. Without
            any, the classical codecs alone, on `data` in colour.
        out: a folder, made if need be.
        data: a source of pictures, by default what the runs were trained on. Of the latter it is the part that is held
            out; of any other its test or validation split where there is one, else all of it.
        size: to which pictures are fitted; by default those of `data` keep their own sizes.
        samples: how many pictures, at most, evenly spread.
        sheet: how many pictures share a file; of these a classical codec is given one sheet.
        codecs: names of `CLASSICAL`, by default all that can be used here.
        bare: runs write payloads alone, without a header, of one picture each.

    Raises ValueError where runs do not agree on what they are to be compared on, a picture cannot be read, and where a
    run cannot code it.
    """
    for name, value in (("samples", samples), ("sheet", sheet)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give 1 picture or more")
    if bare and sheet > 1:
        raise ValueError("a bare payload holds one picture; leave --bare or --sheet out")
    named, out = named_runs(runs), Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder, for figures and numbers")
    anchors = classical(codecs)  # before the work
    coders = [RunCodec(name, run, bare) for name, run in named]
    groups, text = _pictures([run for _, run in named], data, size, samples)
    compared = compare(coders, anchors, groups, text, sheet, bar)._replace(bare=bare)
    out.mkdir(parents=True, exist_ok=True)
    texts = {"points.csv": compared.as_csv(), "comparison.json": json.dumps(compared.facts(), indent=1) + "\n"}
    texts |= {f"{quality}.svg": figure for quality, figure in rate_distortion_figures(compared).items()}
    for name, content in texts.items():
        (out / name).write_text(content, encoding="utf-8")
    return compared


def _pictures(runs: Sequence[Run], data: str | None, size: int | None, samples: int) -> tuple[list[Tensor], str]:
    """Pictures uint8 [N, C, H, W], a group for each size, and which they are."""
    channels = {run.tokenizer.signal.channels for run in runs} or {3}
    modality = runs[0].recipe.modality if runs else Image()
    if not isinstance(modality, Image) or len(channels) > 1:
        raise ValueError("only pictures are compared, all grey or all in colour; leave the other runs out")
    records, text = _records(runs, data)
    if data is not None or size is not None:
        modality = Image(size, channels.pop(), modality.resize)
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for row in spread(len(records.keys), samples):
        pixels = modality.decode(records.cells[row])
        groups.setdefault(pixels.shape, []).append(pixels)
    sizes = sorted({(height * width, f"{width} x {height}") for height, width, _ in groups})
    span = " to ".join(dict.fromkeys((sizes[0][1], sizes[-1][1])))
    found = [torch.from_numpy(np.stack(group)).movedim(-1, 1) for group in groups.values()]
    return found, f"{text}, {span} pixels"


def _records(runs: Sequence[Run], data: str | None) -> tuple[Records, str]:
    """The pictures that no run was trained on, or those that were asked for."""
    recipes = [run.recipe for run in runs]
    if data is None:
        trained_on = {(recipe.data, recipe.validation_share) for recipe in recipes}
        if len(trained_on) != 1:
            raise ValueError("these were not trained on the same data; say by --data what to compare them on")
        source, share = trained_on.pop()
        return open_source(source).split("validation", share), f"held out of {_short(source)}"
    opened = open_source(data)
    preferred: tuple[Split, ...] = ("test", "validation", "all")
    split = next(name for name in preferred if name in opened.splits or name == "all")
    if split == "all" and any(Path(recipe.data).resolve() == Path(data).resolve() for recipe in recipes):
        raise ValueError(
            f"{data} is what a run was trained on; leave --data out, to compare on what was held out of it"
        )
    return opened.split(split), _short(data) + f", {split} split" * (split != "all")


def _short(source: str) -> str:
    """The end of a path, which says what it is and not where somebody keeps it."""
    return "/".join(Path(source).parts[-2:])

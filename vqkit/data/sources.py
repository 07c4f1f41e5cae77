"""What a SOURCE names: a built-in, a file, a folder, or a data set of the hub."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from vqkit.data.arrays import arrays, idx, is_idx, numpy_file
from vqkit.data.folders import folder, single
from vqkit.data.records import Source
from vqkit.data.shapes import shapes
from vqkit.data.tables import hub, parquet_files
from vqkit.modality import Image

BUILT_IN = ("digits", "shapes")


def open_source(source: str | Path) -> Source:
    """The records of a source; lazy cells are not read here.

    Args:
        source: `digits` (1,797 handwritten digits, 8x8 grey); `shapes` (drawn scenes, also `shapes:32` and
            `shapes:size=32,count=1000,seed=1`); a picture, an .npy or .npz, an IDX or a Parquet file; a folder of
            pictures, IDX or Parquet files; or `hf://owner/name`. A folder called digits is `./digits`.

    Raises:
        ValueError: nothing is found there, or it cannot be read.
    """
    name, _, options = str(source).partition(":")
    if name in BUILT_IN and not isinstance(source, Path):
        return _shapes(options) if name == "shapes" else _digits()
    if str(source).startswith("hf://"):
        return hub(str(source).removeprefix("hf://"))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"give a path, hf://owner/name, or one of {', '.join(BUILT_IN)}"
        raise ValueError(f"{source} is neither a file, a folder nor a built-in source; {hint}")
    if path.suffix in (".npy", ".npz"):
        return numpy_file(path)
    if is_idx(path):
        return idx([path], str(path))
    if path.suffix == ".parquet":
        return parquet_files([path], str(path))
    if path.suffix.lower() in Image.suffixes:
        return single(path)
    raise ValueError(f"{path} is no picture, .npy, .npz, IDX or .parquet file; convert it to one of these")


def _folder(path: Path) -> Source:
    """IDX files come first, then Parquet, then pictures."""
    if files := sorted(file for file in path.iterdir() if is_idx(file)):
        return idx(files, str(path))
    if files := sorted(path.rglob("*.parquet")):
        return parquet_files(files, str(path))
    return folder(path, Image.suffixes)


def _digits() -> Source:
    """scikit-learn's handwritten digits, 0..16 scaled to 0..255."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = (pictures.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return arrays("digits", {"train": (scaled, labels)})


def _shapes(options: str) -> Source:
    """`64`, or `size=64,count=10000,seed=0`, any of them."""
    fields = dict(
        option.partition("=")[::2]
        for option in (f"size={options}" if options.isdigit() else options).split(",")
        if option
    )
    if set(fields) - {"size", "count", "seed"} or not all(value.isdigit() for value in fields.values()):
        raise ValueError(f"shapes:{options} is not understood; write shapes:64 or shapes:size=64,count=10000,seed=0")
    return shapes(**{name: int(value) for name, value in fields.items()})

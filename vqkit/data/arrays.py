"""Pictures as arrays: .npy, .npz, and the IDX files of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vqkit.data.records import SPLIT_NAMES, Records, Source, labelled
from vqkit.modality import Array

_IDX_IMAGES = re.compile(r"images[-.]idx3-ubyte(\.gz)?$")


def arrays(name: str, splits: Mapping[str, tuple[Array, Array | None]], label_names: tuple[str, ...] = ()) -> Source:
    """Splits of pictures uint8 [N, H, W], [N, H, W, C] or [N, C, H, W], and of labels [N] or [N, 1] or None."""
    records = {}
    for split, (pictures, labels) in splits.items():
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or not pictures.size:
            raise ValueError(
                f"{name} holds {pictures.dtype} {list(pictures.shape)}; store uint8 pictures [N, H, W] or [N, H, W, C]"
            )
        if pictures.ndim == 4 and pictures.shape[3] not in (1, 3, 4) and pictures.shape[1] in (1, 3, 4):
            pictures = np.moveaxis(pictures, 1, 3)
        if labels is not None:
            _check_labels(name, labels, len(pictures))
        keys = [f"{split}/{i}" for i in range(len(pictures))]
        records[split] = Records(pictures, keys, None if labels is None else labels.reshape(-1))  # type: ignore[arg-type]
    return Source(name, labelled(records, label_names))


def _check_labels(name: str, labels: Array, pictures: int) -> None:
    if labels.size != pictures:
        raise ValueError(f"{name} holds {pictures} pictures and {labels.size} labels; store one for each")
    negative = labels.dtype.kind == "i" and labels.min() < 0
    if negative or labels.dtype.kind not in "iubUS":  # numbers that count, or names
        found = f"a label {labels.min()}" if negative else f"labels of {labels.dtype}"
        raise ValueError(f"{name} holds {found}; number the classes in whole numbers from 0")


def numpy_file(path: Path) -> Source:
    """An .npy of pictures, mapped into memory; or an .npz of x (images) and perhaps y (labels), perhaps for each of
    train, test and validation: x_train, train_images, ..."""
    try:
        loaded = np.load(path, mmap_mode="r")
        if not isinstance(loaded, np.ndarray):
            with loaded as archive:
                stored = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # numpy's words are of pickles
        raise ValueError(f"{path} is damaged or holds no plain numbers; save it again with numpy") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}); save it again") from error
    if isinstance(loaded, np.ndarray):
        return arrays(str(path), {"train": (loaded, None)})
    pictures: dict[str, Array] = {}
    labels: dict[str, Array] = {}
    for name, array in stored.items():
        words = set(name.lower().split("_"))
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train")
        if words & {"x", "images", "image", "data"} or name == "arr_0":
            pictures[split] = array
        elif words & {"y", "labels", "label"} or name == "arr_1":
            labels[split] = array
    if not pictures:
        raise ValueError(f"{path} holds {', '.join(stored) or 'nothing'}; name the pictures x or images, the labels y")
    return arrays(str(path), {split: (array, labels.get(split)) for split, array in pictures.items()})


def is_idx(path: Path) -> bool:
    """Whether this is an IDX file of pictures, by its name."""
    return bool(_IDX_IMAGES.search(path.name))


def idx(paths: list[Path], name: str) -> Source:
    """IDX files of pictures, their splits told from their names, their labels found beside them."""
    splits = {}
    for path in paths:
        beside = [path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))]
        beside += [beside[0].with_suffix("") if path.suffix == ".gz" else beside[0].with_name(beside[0].name + ".gz")]
        labels = next((_read_idx(other) for other in beside if other.exists()), None)
        words = re.split(r"[-._]", path.name.lower()) if len(paths) > 1 else []
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train")
        splits[split] = (_read_idx(path), labels)
    return arrays(name, splits)


def _read_idx(path: Path) -> Array:
    """uint8 of the shape its header says: two zeros, type 8, the number of dimensions, each as 4 bytes, the data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}); download it again") from error
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    shape = tuple(int(side) for side in np.frombuffer(data[4:start], ">u4")) if len(data) >= start else ()
    if data[:3] != b"\0\0\x08" or len(data) != start + math.prod(shape):
        raise ValueError(f"{path} is not a whole IDX file of unsigned bytes; download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)

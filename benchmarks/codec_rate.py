"""Rate and distortion of classical codecs on CIFAR-10 pictures, at their lowest qualities.

    python benchmarks/codec_rate.py --data FOLDER_WITH_CIFAR10_PARQUET

A file of one 32x32 picture is mostly header, so 100 pictures share a file, as a sheet of 10x10: the header counts
little, and a codec may use what neighbours have in common. Bits are of whole files, error of 1,000 test pictures.
Pillow writes JPEG, WebP and AVIF; JPEG XL is measured too where the package pillow-jxl-plugin is installed. Half a
minute; writes benchmarks/results/codec_rate.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from PIL import Image, features

from vqkit import modality
from vqkit.data import open_dataset, spread

PICTURES, SIDE = 1000, 10
QUALITIES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "JPEG": ((1, 3, 6, 10, 20), {"optimize": True, "progressive": True}),
    "WebP": ((0, 2, 5, 10, 25), {"method": 6}),
    "AVIF": ((5, 10, 20, 30, 38), {"speed": 4}),
    "JXL": ((0, 5, 10, 20, 40), {"effort": 7}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    test_set = open_dataset(parser.parse_args().data, modality.Image(32, 3), "test")
    x = test_set.read(spread(len(test_set), PICTURES)).x.movedim(1, -1).numpy()
    sheets = [np.vstack([np.hstack(row) for row in sheet]) for sheet in x.reshape(-1, SIDE, SIDE, *x.shape[1:])]
    points = [
        {"codec": codec, "quality": quality, **measure(sheets, codec, quality, options)}
        for codec, (qualities, options) in QUALITIES.items()
        if codec != "JXL" or has_jpeg_xl()
        for quality in qualities
    ]
    for point in points:
        print(f"{point['codec']:5}{point['quality']:4}{point['bits']:8.0f}{point['mse']:9.5f}{point['psnr']:7.2f}")
    result = {"machine": machine(), "libraries": libraries(), "pictures": PICTURES, "points": points}
    path = Path(__file__).parent / "results" / "codec_rate.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


def measure(sheets: list[np.ndarray], codec: str, quality: int, options: dict[str, Any]) -> dict[str, float]:
    """Bits a picture, mean squared error on [0, 1] and PSNR in dB, of sheets uint8 [H, W, 3]."""
    size, squares = 0, []
    for sheet in sheets:
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, codec, quality=quality, **options)
        size += len(file.getvalue())
        decoded = np.asarray(Image.open(file).convert("RGB"))
        squares.append(((sheet.astype(float) - decoded) / 255) ** 2)
    mse = float(np.mean(squares))
    return {"bits": 8 * size / len(sheets) / SIDE**2, "mse": mse, "psnr": -10 * math.log10(mse)}


def has_jpeg_xl() -> bool:
    """Teaches Pillow the format, where it can be taught."""
    found = importlib.util.find_spec("pillow_jxl") is not None
    if found:
        importlib.import_module("pillow_jxl")
    return found


def libraries() -> dict[str, str | None]:
    """What wrote the files, with versions."""
    versions = {name: features.version(name) for name in ("pil", "libjpeg_turbo", "webp", "avif")}
    return versions | ({"pillow-jxl-plugin": importlib.metadata.version("pillow-jxl-plugin")} if has_jpeg_xl() else {})


if __name__ == "__main__":
    main()

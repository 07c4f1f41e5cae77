"""Fashion-MNIST without loss: tokens and then pixels given them, beside PNG, WebP and JPEG XL, from the bytes of files.

    python benchmarks/lossless.py --data FOLDER_WITH_FASHION_MNIST_IDX [--out RUN] [--pictures 200] [--quick]

The recipe `fashion-mnist-pixelcnn` with a narrower PixelCNN and for fewer steps. Test pictures are compressed one a
file, and all in one file, and decompressed again, which is checked. The other codecs take the same pictures, one a file
and as one sheet; JPEG XL takes part where pillow-jxl-plugin is installed. Bits are of whole files, headers included;
the model is not counted. Writes benchmarks/results/lossless.json; with --quick, where nothing has learned anything,
nothing but the run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from PIL import Image
from runs import training
from torch import Tensor

from vqkit import pipeline
from vqkit.data import spread
from vqkit.run import Run, compress_files, decompress_files

RESULT = Path(__file__).parent / "results" / "lossless.json"
STEPS, PRIOR_STEPS, BATCH, WIDTH = 3500, 500, 16, 24
CODECS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
    "JPEG XL": {"format": "JXL", "lossless": True, "effort": 9},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, help="folder of the run, which goes on where it stopped; a temporary one")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="whether everything works, in a minute")
    chosen = parser.parse_args()
    few = chosen.quick
    changes = {
        "training": training(10 if few else STEPS, BATCH),
        "prior_training": training(10 if few else PRIOR_STEPS, weight_decay=0.05),
        "tokenizer.init_args.width": WIDTH,
        "tokenizer.init_args.value_prior.init_args": {"width": WIDTH, "context_channels": WIDTH},
    }
    out, stages = chosen.out or Path(tempfile.mkdtemp()) / "run", ["tokenizer", "tokens", "prior"]
    run = pipeline.train("fashion-mnist-pixelcnn", data=chosen.data, out=out, stages=stages, **changes)
    held_out = run.dataset("validation")
    x = held_out.read(spread(len(held_out), 8 if few else chosen.pictures)).x
    found = {"vqkit": of_run(run, x)} | others(x)
    for name, row in found.items():
        print(name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    if not few:
        result = {"machine": machine(), "steps": STEPS, "batch_size": BATCH, "pictures": len(x), "codecs": found}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


def of_run(run: Run, x: Tensor) -> dict[str, float]:
    """Bits a pixel of pictures one a file and in one file, and seconds a picture in one."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "in").mkdir()
        for number, picture in enumerate(x):
            run.recipe.modality.save(picture, folder / "in" / f"{number:04}.png")
        alone = compress_files(run, [folder / "in"], folder / "alone", lossless=True, bar=False)
        start = time.perf_counter()
        together = compress_files(run, [folder / "in"], folder / "together.vqz", lossless=True, bar=False)
        seconds = time.perf_counter() - start
        back = decompress_files(run, [folder / "together.vqz"], folder / "back", bar=False)
        for path, picture in zip(back.paths, x, strict=True):
            if not np.array_equal(np.array(Image.open(path)), picture[0].numpy()):
                raise RuntimeError(f"{path.name} is another picture than was compressed")
        return {
            "one_a_file": alone.bits_per_pixel,
            "one_file": together.bits_per_pixel,
            "seconds_a_picture": seconds / len(x),
        }


def others(x: Tensor) -> dict[str, dict[str, float]]:
    """The same of the codecs of Pillow, the one file a sheet."""
    if importlib.util.find_spec("pillow_jxl") is not None:
        importlib.import_module("pillow_jxl")
    pictures = x[:, 0].numpy()
    rows = max(n for n in range(1, int(len(x) ** 0.5) + 1) if len(x) % n == 0)
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in np.split(pictures, rows)])
    found = {}
    for name, options in CODECS.items():
        if name != "JPEG XL" or "JXL" in Image.SAVE:
            alone = sum(len(coded(picture, options)) for picture in pictures)
            found[name] = {
                "one_a_file": 8 * alone / pictures.size,
                "one_file": 8 * len(coded(sheet, options)) / sheet.size,
            }
    return found


def coded(pixels: np.ndarray, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()

"""Rate and distortion of classical codecs on CIFAR-10 pictures, at their lowest qualities.

    python benchmarks/codec_rate.py --data FOLDER_WITH_CIFAR10_PARQUET

A file of one 32x32 picture is mostly header, so 100 pictures share a file, as a sheet of 10x10: the header counts
little, and a codec may use what neighbours have in common. Bits are of whole files, error of 1,000 test pictures.
Pillow writes JPEG, WebP and AVIF; JPEG XL is measured too where the package pillow-jxl-plugin is installed. Half a
minute; writes benchmarks/results/codec_rate.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from machine import machine

from vqkit.data import open_dataset, spread
from vqkit.evaluation import classical, operating_point
from vqkit.evaluation.classical import libraries
from vqkit.modality import Image

PICTURES, SHEET = 1000, 100
QUALITIES = {
    "JPEG": (1, 3, 6, 10, 20),
    "WebP": (0, 2, 5, 10, 25),
    "AVIF": (5, 10, 20, 30, 38),
    "JPEG XL": (0, 5, 10, 20, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    test_set = open_dataset(parser.parse_args().data, Image(32, 3), "test")
    x = test_set.read(spread(len(test_set), PICTURES)).x
    points = []
    for codec in (codec._replace(qualities=QUALITIES[codec.name], divisors=(1,)) for codec in classical()):
        for quality, setting in zip(codec.qualities, codec.settings, strict=True):
            point = operating_point(codec, setting, [x], SHEET)
            print(
                f"{codec.name:8}{quality:4}{point.bits_per_picture:8.0f}{point.mse:9.5f}{point.psnr:7.2f}", flush=True
            )
            rate = {"codec": codec.name, "quality": quality, "bits": point.bits_per_picture}
            points.append({**rate, "mse": point.mse, "psnr": point.psnr})
    result = {"machine": machine(), "libraries": libraries(), "pictures": PICTURES, "points": points}
    path = Path(__file__).parent / "results" / "codec_rate.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

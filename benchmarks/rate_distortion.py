"""Rate-distortion curves of JPEG, WebP, AVIF, JPEG XL and runs, from bytes: photographs, CIFAR-10 alone and in sheets.

    python benchmarks/rate_distortion.py --photographs FOLDER --others FOLDER --cifar10 FOLDER_WITH_CIFAR10_PARQUET
        [--photograph-runs RUN ...] [--cifar10-runs RUN ...] [--sheet-runs RUN ...]

Four comparisons: 100 photographs of their own sizes; others, of another source than the runs were trained on; 1,000
test pictures of CIFAR-10, one a file, of runs the payload alone; and the same, 100 a file, of which a run that walks
symbol by symbol codes all at a time and is much faster there: `--sheet-runs` take part in that alone. A run may be
NAME=RUN,RUN,..., one curve of several, such as PCA at several steps; it must not have seen the photographs. JPEG XL
takes part where pillow-jxl-plugin is installed. About an hour on a core without runs; writes points, figures and all
numbers to benchmarks/results/rate_distortion/, a folder a comparison.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from machine import machine

from vqkit.evaluation import Comparison
from vqkit.run.compare import compare_runs

PHOTOGRAPHS, SMALL, SHEET = 100, 1000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", help="a folder")
    parser.add_argument("--others", help="a folder of other photographs")
    parser.add_argument("--cifar10", help="the data set; its test split is coded")
    parser.add_argument("--photograph-runs", nargs="*", default=[])
    parser.add_argument("--cifar10-runs", nargs="*", default=[])
    parser.add_argument("--sheet-runs", nargs="*", default=[])
    parser.add_argument("--samples", type=int, help="for a trial, of each data set")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rate_distortion")
    chosen = parser.parse_args()
    for folder, name in ((chosen.photographs, "photographs"), (chosen.others, "others")):
        if folder:
            pictures, out = chosen.samples or PHOTOGRAPHS, chosen.out / name
            show(compare_runs(chosen.photograph_runs, out, folder, samples=pictures), out)
    if chosen.cifar10:
        runs, pictures = chosen.cifar10_runs, chosen.samples or SMALL
        out = chosen.out / "cifar10"
        show(compare_runs(runs, out, chosen.cifar10, samples=pictures, bare=bool(runs)), out)
        out = chosen.out / "cifar10-sheets"
        runs = [*runs, *chosen.sheet_runs]
        show(compare_runs(runs, out, chosen.cifar10, samples=pictures, sheet=SHEET), out)


def show(comparison: Comparison, out: Path) -> None:
    """Every point, how far the PSNR curves are apart, and the machine beside the numbers."""
    print(f"\n{comparison.caption}\n{'bits':>8}{'b/pixel':>9}{'MSE':>9}{'PSNR':>7}{'SSIM':>8}{'MS-SSIM':>9}")
    for point in comparison.points:
        numbers = (point.psnr, 2, 7), (point.ssim, 4, 8), (point.ms_ssim, 4, 9)
        shown = "".join(
            f"{'-':>{width}}" if x is None else f"{x:{width}.{decimals}f}" for x, decimals, width in numbers
        )
        rate = f"{point.bits_per_picture:8,.0f}{point.bits_per_pixel:9.4f}{point.mse:9.5f}"
        print(f"{rate}{shown}  {point.codec}, {point.setting}")
    for row in comparison.differences():
        rate = "-" if row.bd_rate is None else f"{row.bd_rate.value:+.1f} % bits at equal PSNR"
        psnr = "-" if row.bd_psnr is None else f"{row.bd_psnr.value:+.2f} dB at equal bits"
        print(f"{row.codec} beside {row.anchor}: {rate}, {psnr}", flush=True)
    path = out / "comparison.json"
    path.write_text(json.dumps({"machine": machine(), **json.loads(path.read_text())}, indent=1) + "\n")


if __name__ == "__main__":
    main()

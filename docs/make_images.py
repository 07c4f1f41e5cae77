"""Draws the README's picture from a run on digits: python docs/make_images.py --run runs/digits

Four rows: held-out originals, their reconstructions, their tokens in a colour a code, and samples of each class.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import vqkit
from vqkit.report.pictures import code_colours

COLUMNS, SIDE, GAP = 20, 48, 4


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", default="runs/digits")
    run = vqkit.load(arguments.parse_args().run)
    x = run.dataset("validation").read(range(COLUMNS)).x
    samples = run.sample(COLUMNS, seed=1)
    rows = [list(pictures[:, 0].numpy()) for pictures in (x, run.reconstruct(x))]
    tokens = list(code_colours(run.tokenizer.encode(x)[0][:, 0]).numpy())
    rows += [tokens, list(samples[:, 0].numpy())]
    step = SIDE + GAP
    sheet = Image.new("RGB", (COLUMNS * step - GAP, len(rows) * step - GAP), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            tile = Image.fromarray(picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(tile, (j * step, i * step))
    path = Path(__file__).parent / "images" / "digits.png"
    path.parent.mkdir(exist_ok=True)
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main()

"""What levels.md shows: pictures with more and more of their levels, and what each level costs."""

from __future__ import annotations

import math
from typing import Any

import torch
from drawing import BENCHMARKS, fill, markdown, picture_rows, save, store, stored
from scenes import held_out, run
from torch import Tensor

from vqkit.evaluation import Fidelity, classification_rows

MODELS = {
    "VQ-VAE-2": "two levels",
    "VQ-VAE-2, level dropout": "two levels, level dropout",
    "scales": "residual scales, level dropout",
}


def level_by_level(name: str, x: Tensor) -> list[Tensor]:
    """Reconstructions uint8 of x by the first level, the first two, and so on to all. A model that was not trained for
    it refuses that, for the reason that is shown here, so it is told that it was."""
    model = run(name).tokenizer
    model.level_dropout = model.level_dropout or 0.1
    return [run(name).reconstruct(x, levels=count) for count in model.prefixes]


def measure(pictures: int = 1000) -> dict[str, dict[str, Any]]:
    """PSNR in dB by number of levels, of up to so many pictures; and the bits of each level's tokens under three
    priors."""
    x, measured = held_out(pictures), {}
    for name in MODELS:
        psnr = []
        for x_hat in level_by_level(name, x):
            fidelity = Fidelity(run(name).tokenizer.signal)
            fidelity.add(x, x_hat)
            psnr.append(fidelity.measured().numbers["psnr"])
        layout, found = run(name).layout, run(name).evaluation["validation"]
        tokens = torch.tensor(layout.tokens) / math.log(2)
        nats = {
            "nominal": [math.log(size) for (size,) in layout.codebook_sizes],
            "unigram": found["unigram_nats_per_token_of_levels"],
            "transformer": found["nats_per_token_of_levels"],
        }
        bits = {prior: (tokens * torch.tensor(each)).tolist() for prior, each in nats.items()}
        measured[name] = {"grids": found["grids"], "psnr": psnr, "bits": bits}
    return measured


def table(measured: dict[str, dict[str, Any]]) -> str:
    """A row a level: PSNR with it and all coarser ones, and its bits."""
    rows = []
    for name, found in measured.items():
        of_priors = list(found["bits"].values())
        for number, (grid, psnr) in enumerate(zip(found["grids"], found["psnr"], strict=True)):
            bits = [f"{of_levels[number]:.0f}" for of_levels in of_priors]
            rows.append([MODELS[name], "x".join(map(str, grid)), f"{psnr:.1f}", *bits])
        rows.append(["", "all", "", *(f"{sum(of_levels):.0f}" for of_levels in of_priors)])
    return markdown(["layout", "level", "PSNR up to it, dB", "nominal bits", "unigram", "transformer"], rows)


def photographs_table(measured: dict[str, Any]) -> str:
    """What benchmarks/three_levels.py found, a row a split."""
    rows = []
    for split, name in (("train", "train"), ("validation", "held out")):
        found = measured[split]
        nats = [f"{of_level:.2f}" for of_level in found["nats_per_token_of_levels"]]
        bits = [f"{found[key]:.2f}" for key in ("nll_bits_per_dim", "bits_per_dim_learned_prior")]
        rows.append([name, *nats, f"{found['estimated_bits']:,.0f}", f"{found['mse']:.4f}", *bits])
    sides = ["x".join(map(str, grid)) for grid in measured["train"]["grids"]]
    return markdown(["photographs", *(f"nats a token, {side}" for side in sides), "bits", "MSE", "NLL", "-ELBO"], rows)


def classification_table(measured: dict[str, Any]) -> str:
    """What benchmarks/two_levels.py found, in the layout of table 2 of Razavi et al. 2019."""
    found = classification_rows(measured["generation"]["classification"])
    return markdown(["classifier trained on", "Top-1", "Top-5"], [[row.source, *row.values] for row in found])


def levels() -> None:
    """Held-out scenes, and what is left of them with each number of levels."""
    x = held_out(10)
    rows = {"original": x}
    for name in MODELS:
        grids = run(name).layout.grids
        for number, x_hat in enumerate(level_by_level(name, x)):
            grid = "x".join(map(str, grids[number]))
            rows[f"{MODELS[name]}:\n{'+ ' * (number > 0)}{grid}".replace(", ", ",\n")] = x_hat
    save(picture_rows(rows), "levels", dpi=150)
    measured = measure()
    store("levels", measured)
    fill("levels", table(measured))
    fill("levels", photographs_table(stored(BENCHMARKS / "three_levels.json")))
    fill("levels", classification_table(stored(BENCHMARKS / "two_levels.json")))

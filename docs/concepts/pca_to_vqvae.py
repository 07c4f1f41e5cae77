"""What pca_to_vqvae.md shows: the same scenes through every kind of autoencoder, and what those with a prior draw."""

from __future__ import annotations

import math
from typing import Any

from drawing import BENCHMARKS, fill, markdown, picture_rows, save, store, stored
from scenes import held_out, run

MODELS = ("PCA", "AE", "VAE", "VQ-VAE", "residual VQ", "FSQ", "VQ-VAE-2")
COLUMNS = {  # of benchmarks/results/families.json, with decimals
    "MSE": ("mse", 5),
    "PSNR, dB": ("psnr", 2),
    "nominal bits": ("nominal_bits", 0),
    "estimated bits": ("estimated_bits", 0),
    "bits/dim, training prior": ("bits_per_dim_training_prior", 3),
    "learned prior": ("bits_per_dim_learned_prior", 3),
    "parameters": ("parameters", 0),
    "seconds": ("seconds", 0),
}
OF_LIKELIHOODS = ("PSNR, dB", "estimated bits", "bits/dim, training prior", "learned prior", "seconds")
DATA = {"fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def families_table(families: dict[str, Any]) -> str:
    """benchmarks/results/families.json as Markdown, a row a model of each data set."""
    return _table(families, COLUMNS)


def likelihoods_table(likelihoods: dict[str, Any]) -> str:
    """benchmarks/results/likelihoods.json, likewise."""
    return _table(likelihoods, {name: column for name, column in COLUMNS.items() if name in OF_LIKELIHOODS})


def _table(measured: dict[str, Any], columns: dict[str, tuple[str, int]]) -> str:
    rows = [
        [title, name, *(_shown(found[key], decimals) for key, decimals in columns.values())]
        for data, title in DATA.items()
        for name, found in measured[data].items()
    ]
    return markdown(["data", "model", *columns], rows)


def scenes_table(measured: dict[str, dict[str, float | None]]) -> str:
    """Of what `measure` found."""
    rows = [[name, *(_shown(value, decimals) for value, decimals in zip(found.values(), (2, 0, 0, 0), strict=True))]
            for name, found in measured.items()]  # fmt: skip
    return markdown(["model", "PSNR, dB", "bits, training prior", "unigram", "transformer"], rows)


def _shown(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def measure() -> dict[str, dict[str, float | None]]:
    """PSNR in dB of held-out scenes, and bits a scene: under the prior that the bottleneck was trained against, which
    for a VAE is its KL, and where there are tokens under those that were fitted to them."""
    measured: dict[str, dict[str, float | None]] = {}
    for name in MODELS:
        found = run(name).evaluation["validation"]
        kl, unigram = found["kl_nats_training_prior"], None
        if run(name).tokenizer.discrete:
            unigram = found["unigram_nats_per_token"] / math.log(2) * sum(run(name).layout.tokens)
        measured[name] = {
            "psnr": found["psnr"],
            "training prior": None if kl is None else kl / math.log(2),
            "unigram": unigram,
            "transformer": found.get("estimated_bits"),
        }
    return measured


def pca_to_vqvae() -> None:
    """A row of reconstructions a model, and rows of samples."""
    x, measured = held_out(10), measure()
    rows = {"original": x}
    rows |= {f"{name}\n{measured[name]['psnr']:.1f} dB": run(name).reconstruct(x) for name in MODELS}
    rows |= {f"{name},\ndrawn": run(name).sample(10) for name in MODELS if run(name).can_sample}
    save(picture_rows(rows), "pca_to_vqvae", dpi=105)
    store("pca_to_vqvae", measured)
    fill("pca_to_vqvae", scenes_table(measured))
    fill("pca_to_vqvae", families_table(stored(BENCHMARKS / "families.json")))
    fill("pca_to_vqvae", likelihoods_table(stored(BENCHMARKS / "likelihoods.json")))

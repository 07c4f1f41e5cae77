"""The runs on drawn scenes that the pages of pictures show: one network, and what stands between its halves differs.

`run(NAME)` trains one, or opens it where it was trained: runs/concepts/NAME, some five minutes each on one core.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from vqkit import pipeline
from vqkit.data import spread
from vqkit.run import Run

SOURCE = "shapes:size=32,count=20000"
RUNS = Path("runs/concepts")
DIM = 4  # numbers a position of the continuous latents, on a grid of 8x8
WIDTH, NARROW = 32, 20  # the second where there are several levels, for about as many parameters
TRAINING = {"max_steps": 4000, "batch_size": 32, "learning_rate": 2e-3}
PRIOR_TRAINING = {**TRAINING, "max_steps": 4000, "weight_decay": 0.05}


def part(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def convolutional(bottleneck: Any, **init_args: Any) -> dict[str, Any]:
    common = {"width": WIDTH, "halvings": 2, "residual_layers": 1, "residual_width": WIDTH // 2}
    return part("Convolutional", bottleneck=bottleneck, **{**common, **init_args})


# A scale of 0.1 weighs pixels twelve times as much as the recipes' 0.35, so the commitment has to keep up with it; and
# in so few steps the codes with the encoder, which runs away from the scales' with a decay of 0.99.
CODES = part("EMAVectorQuantizer", dim=32, codebook_size=512, commitment_weight=2.5, decay=0.9, revival=0.1)
TWO_LEVELS = {"width": NARROW, "halvings": [3, 2]}
TOKENIZERS: dict[str, dict[str, Any]] = {
    "PCA": part("PCA", bottleneck=part("Identity", dim=64 * DIM)),
    "AE": convolutional(part("Identity", dim=DIM)),
    "VAE": convolutional(part("GaussianBottleneck", dim=DIM)),
    "VQ-VAE": convolutional(CODES),
    "residual VQ": convolutional(part("ResidualQuantizer", quantizer=CODES, depth=2)),
    "FSQ": convolutional(part("FiniteScalarQuantizer", levels=[8, 8, 8])),
    "VQ-VAE-2": convolutional(CODES, **TWO_LEVELS),
    "VQ-VAE-2, level dropout": convolutional(CODES, **TWO_LEVELS, level_dropout=0.2),
    "scales": {**convolutional(CODES, level_dropout=0.2), "class_path": "MultiscaleResidual"},
}
CONTINUOUS = ("PCA", "AE", "VAE")


@cache
def run(name: str) -> Run:
    """Trained, with a prior where there are tokens, and evaluated."""
    out = RUNS / name.lower().replace(", ", "-").replace(" ", "-")
    tokenizer = TOKENIZERS[name]
    tokenizer = {**tokenizer, "init_args": {**tokenizer["init_args"], "likelihood": part("Gaussian", scale=0.1)}}
    prior = None if name in CONTINUOUS else part("TransformerPrior", width=128, depth=4, heads=4)
    if not (out / "report" / "index.html").exists():
        changes = {"modality.init_args": {"size": 32}, "tokenizer": tokenizer, "prior": prior}
        pipeline.train(
            "image", data=SOURCE, out=out, training=TRAINING, prior_training=PRIOR_TRAINING, bar=False, **changes
        )
    return Run(out)


def held_out(count: int) -> Tensor:
    """Pictures that no run was trained on, uint8 [count, 3, 32, 32], or as many as there are."""
    data = run("PCA").dataset("validation")
    return data.read(spread(len(data), count)).x

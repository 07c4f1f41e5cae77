"""Posterior collapse: a VAE stops using z under a decoder that can do without it, and a VQ-VAE does not.

    python benchmarks/posterior_collapse.py --data FOLDER_WITH_FASHION_MNIST_IDX [--quick]

Both have the same encoder and the same PixelCNN decoder, strong enough to model the pixels alone, and train for the
same steps. Of held-out pictures: the VAE's KL and the VQ-VAE's rate; what it costs to give the decoder the z of another
picture; and how well a linear probe, a logistic regression fitted to train pictures, tells the class from z. Beside it
the same encoder untrained, with a codebook of k-means on its outputs. Writes benchmarks/results/posterior_collapse.json
and the picture of docs/concepts/posterior_collapse.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from machine import machine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, GaussianBottleneck
from vqkit.data import Dataset, Split, open_dataset, open_source, shuffled, spread, sweep
from vqkit.evaluation import evaluate
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.priors import PixelCNN, UnigramPrior
from vqkit.signal import Batch
from vqkit.training import TokenizerObjective, Training
from vqkit.training.fit import fit
from vqkit.training.metrics import read_rows

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "posterior_collapse.json"
PICTURE = ROOT / "docs" / "concepts" / "images" / "posterior_collapse.png"
DIM, CODES, SEED = 8, 256, 0
READ = 100  # pictures a batch where nothing is trained
SHOWN = 10  # pictures of each kind in the figure
NUMBERS = ("nll_nats", "kl_nats_training_prior", "shuffled_z_nats", "mse", "perplexity", "usage")


class Settings(NamedTuple):
    """`steps` of `batch` pictures; nets `width` wide, the PixelCNN `depth` layers of `kernel_size`; `measured` held-out
    pictures, and `probed` of either split for the probes."""

    steps: int
    batch: int
    width: int
    depth: int
    kernel_size: int
    measured: int
    probed: int


FULL = Settings(3500, 16, 24, 6, 5, 2000, 10_000)
QUICK = Settings(300, 16, 16, 2, 3, 200, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, help=f"of {FULL.batch} pictures; {FULL.steps} by default")
    parser.add_argument("--quick", action="store_true", help="everything in a minute, with numbers that say nothing")
    parser.add_argument("--out", type=Path, help="the result; with --quick it is left out by default")
    parser.add_argument("--picture", type=Path, help="the page's figure; with --quick it is left out by default")
    chosen = parser.parse_args()
    settings = QUICK if chosen.quick else FULL
    settings = settings._replace(steps=chosen.steps or settings.steps)
    out, picture = chosen.out, chosen.picture
    if not chosen.quick:
        out, picture = out or RESULT, picture or PICTURE
    source = open_source(chosen.data)
    train_set, test_set = (open_dataset(source, Image(28, 1), split) for split in ("train", "test"))

    shown = test_set.read(spread(len(test_set), SHOWN)).x
    result: dict[str, Any] = {"machine": machine(), "settings": settings._asdict()}
    drawn = []
    for name, bottleneck in {"VAE": GaussianBottleneck(DIM), "VQ-VAE": EMAVectorQuantizer(DIM, CODES)}.items():
        print(f"{name} ...", flush=True)
        experiment = Experiment(settings, train_set, test_set)
        model = experiment.autoencoder(bottleneck)
        result[name] = {"untrained": experiment.probes(model)} | experiment.train(model) | experiment.measure(model)
        result[name]["trained"] = experiment.probes(model)
        drawn.append(draw(model, shown))
    print(table(result["VAE"], result["VQ-VAE"]))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
    if picture is not None:
        mean = model.signal.to_native(model.reconstruct(shown))  # of the VQ-VAE: data sets are not part of the project
        Image(28, 1).preview(torch.cat([mean, *drawn]), SHOWN, 2).save(picture)


class Experiment(NamedTuple):
    """What both models share."""

    settings: Settings
    train_set: Dataset
    test_set: Dataset

    def autoencoder(self, bottleneck: Bottleneck) -> Autoencoder:
        """Untrained; a codebook starts from k-means on what the encoder makes of train pictures."""
        width, depth, kernel_size = self.settings.width, self.settings.depth, self.settings.kernel_size
        pixel_cnn = partial(PixelCNN, width=width, depth=depth, kernel_size=kernel_size, context_channels=width)
        torch.manual_seed(SEED)  # the same encoder for both, whatever the bottleneck has drawn
        model = Convolutional(bottleneck, Gaussian(), width, value_prior=pixel_cnn)(self.train_set.signal)
        model.initialise(lambda: shuffled(self.train_set, READ, SEED))
        return model

    def train(self, model: Autoencoder) -> dict[str, Any]:
        """Seconds it took, and the KL along the way: [step, nats a picture] each."""
        settings = Training(
            max_steps=self.settings.steps,
            batch_size=self.settings.batch,
            learning_rate=2e-3,
            warmup_steps=100,
            weight_average=0.0,
            seed=SEED,
            log_every=max(1, self.settings.steps // 50),
            validate_every=self.settings.steps,
        )
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            fit("tokenizer", TokenizerObjective(model), settings, Path(folder), self.train_set, self.test_set)
            seconds = time.perf_counter() - start
            rows = read_rows(Path(folder) / "metrics-tokenizer.csv")
        return {"seconds": round(seconds), "kl": [[int(row["step"]), row["kl"]] for row in rows if "kl" in row]}

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """`NUMBERS` of held-out pictures."""
        unigram = None
        if model.discrete:
            unigram = UnigramPrior(model.layout())
            unigram.fit((model.encode(batch.x), {}) for batch in self._batches("train", self.settings.measured))
        found = evaluate(model, None, unigram, self._batches("test", self.settings.measured))
        return {name: found[name] for name in NUMBERS if found.get(name) is not None}

    def probes(self, model: Autoencoder) -> dict[str, float]:
        """Share of held-out pictures whose class a linear probe tells, by what it is given of the latent."""
        (given, label), (held_out, truth) = (self._latents(model, split) for split in ("train", "test"))
        found = {}
        for name in given:
            scale = StandardScaler().fit(given[name])
            probe = LogisticRegression(max_iter=1000).fit(scale.transform(given[name]), label)
            found[name] = round(probe.score(scale.transform(held_out[name]), truth), 4)
        return found

    def _latents(self, model: Autoencoder, split: Split) -> tuple[dict[str, Tensor], Tensor]:
        """Features [n, F] by name, and labels [n]."""
        parts: dict[str, list[Tensor]] = {}
        labels, generator = [], torch.Generator().manual_seed(SEED)
        for batch in self._batches(split, self.settings.probed):
            (latent,), (drawn,) = model.latents(batch.x), model.posterior(batch.x, generator=generator)[0]
            if latent.indices is None:
                features = {"posterior means": latent.z, "z drawn from the posterior": drawn.z}
            else:
                features = {"histogram of tokens": F.one_hot(latent.indices.flatten(1), CODES).sum(1), "z": latent.z}
            for name, values in features.items():
                parts.setdefault(name, []).append(values.flatten(1))
            labels.append(batch.side["label"])
        return {name: torch.cat(values) for name, values in parts.items()}, torch.cat(labels)

    def _batches(self, split: Split, count: int) -> Iterator[Batch]:
        data = self.train_set if split == "train" else self.test_set
        return sweep(data, READ, spread(len(data), count))


def table(vae: dict[str, Any], vq_vae: dict[str, Any]) -> str:
    """That of the page."""
    rows = [
        "| | VAE | VQ-VAE |",
        "|---|---|---|",
        f"| -log p(x given z), nats a picture | {vae['nll_nats']:,.0f} | {vq_vae['nll_nats']:,.0f} |",
        "| the same with the z of another picture, nats more "
        f"| {vae['shuffled_z_nats']:.2f} | {vq_vae['shuffled_z_nats']:.2f} |",
        "| KL to the training prior, nats a picture "
        f"| {vae['kl_nats_training_prior']:.3f} | {vq_vae['kl_nats_training_prior']:.1f} |",
    ]
    for given, of_vae, of_vq_vae in (
        ("the posterior's means, or by which tokens there are", "posterior means", "histogram of tokens"),
        ("z itself, drawn from the posterior", "z drawn from the posterior", "z"),
    ):
        for when, what in (("trained", f"class told by {given}"), ("untrained", "the same before training")):
            rows.append(f"| {what} | {vae[when][of_vae]:.1%} | {vq_vae[when][of_vq_vae]:.1%} |".replace("%", " %"))
    return "\n".join(rows)


@torch.no_grad()
def draw(model: Autoencoder, x: Tensor) -> Tensor:
    """A draw from p(x | z) for each picture, z being its own."""
    _, z = model.posterior(x, generator=torch.Generator().manual_seed(SEED))
    return model.decoder.sample(z, {}, torch.Generator().manual_seed(SEED))


if __name__ == "__main__":
    main()

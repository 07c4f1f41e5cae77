"""The VQ-VAE authors' CIFAR-10 example (network, 8x8 codes, K = 512, D = 64, 10,000 steps of 32 images), held out.

    python benchmarks/cifar10_sonnet.py --data FOLDER_WITH_CIFAR10_PARQUET [--out RUN] [--only speed]

Trains the recipe `cifar10-sonnet` through to its prior and prints distortion and codebook use over all 10,000 test
pictures, nats a token of the prior beside the unigram's, and the speed of the training loop beside a plain float32 loop
of the same network. Writes benchmarks/results/cifar10_sonnet.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import machine

from vqkit import pipeline, recipe
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_dataset
from vqkit.modality import Image
from vqkit.run import Run
from vqkit.training import TokenizerObjective, Training
from vqkit.training.fit import fit
from vqkit.training.metrics import read_rows

ROUNDS, STEPS, BATCH = 5, 1000, 32


def quality(data: str, out: Path) -> dict[str, object]:
    """The recipe from end to end, or what is still to do of it: what `vqkit evaluate` says of the test split."""
    if not (out / "report" / "index.html").exists():
        pipeline.train("cifar10-sonnet", data=data, out=out)
    run = Run(out)
    held_out = json.loads((out / "evaluation.json").read_text())["validation"]
    found = {name: held_out[name] for name in held_out if name != "reasons"}
    below = 0.9 * held_out["unigram_nats_per_token"]
    for stage, settings in (("tokenizer", run.recipe.training), ("prior", run.recipe.prior_training)):
        rows, seconds = read_rows(out / f"metrics-{stage}.csv"), 0.0
        for row in rows:
            seconds += settings.log_every * settings.batch_size / row["samples_per_second"]
            if row.get("validation_nats_per_token", below) < below:
                found.setdefault("prior_minutes_to_10_percent_below_unigram", round(seconds / 60, 1))
        found[f"{stage}_minutes"] = round(seconds / 60, 1)
        found[f"{stage}_waiting_for_data"] = round(statistics.mean(row["waiting_for_data"] for row in rows), 4)
    return found


def speed(data: str) -> dict[str, object]:
    """Images a second of both loops, in turn, and the median of the ratios. Ours has its bar, its log, its checkpoints
    and its validation after 1,000 steps, as in a run. Each has a process of its own, as `fit` changes how a process
    gets its memory."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(1, spawn) as other:
        loops = (one, _ours), (other, _plain)
        ours, plain = [], []
        for number in range(ROUNDS + 1):
            steps = STEPS if number else STEPS // 10  # the first round warms up
            seconds = [pool.submit(loop, data, steps).result() for pool, loop in loops]
            if number:
                ours.append(STEPS * BATCH / seconds[0])
                plain.append(STEPS * BATCH / seconds[1])
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    return {
        "images_per_second": round(statistics.median(ours)),
        "plain_images_per_second": round(statistics.median(plain)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
    }


def _ours(data: str, steps: int) -> float:
    """Seconds."""
    torch.set_num_threads(2)
    train_set = open_dataset(data, Image(32, 3))
    objective, settings = TokenizerObjective(_network(train_set)), Training(max_steps=steps, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fit("tokenizer", objective, settings, Path(folder), train_set, train_set, bar=True)
        return time.perf_counter() - start


def _plain(data: str, steps: int) -> float:
    """Seconds."""
    torch.set_num_threads(2)
    train_set = open_dataset(data, Image(32, 3))
    loop = _PlainLoop(_network(train_set), train_set)
    start = time.perf_counter()
    loop.run(steps)
    return time.perf_counter() - start


def _network(train_set: Dataset) -> Autoencoder:
    made = recipe.parser()
    parts = recipe.instantiate(made, recipe.parse(made, recipe.arguments("cifar10-sonnet")))
    return parts.tokenizer(train_set.signal)


class _PlainLoop:
    """What one writes in a notebook: float32, contiguous, Adam, a one-hot moving average, no bar and no log."""

    def __init__(self, model: Autoencoder, train_set: Dataset) -> None:
        self.encoder, self.project, self.decoder = model.encoder, model.levels[0].project, model.decoder.net
        self.x = train_set.read(range(len(train_set))).x.contiguous()
        self.codebook = torch.randn(512, 64) / 8
        self.counts, self.sums = torch.ones(512), self.codebook.clone()
        nets = (self.encoder, self.project, self.decoder)
        self.optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], 3e-4)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            x = self.x[torch.randint(len(self.x), (BATCH,))].float() / 127.5 - 1
            z_e = self.project(self.encoder(x)[0])
            rows = z_e.permute(0, 2, 3, 1).reshape(-1, 64)
            with torch.no_grad():
                distance = rows.square().sum(1, keepdim=True) - 2 * rows @ self.codebook.t()
                indices = (distance + self.codebook.square().sum(1)).argmin(1)
                one_hot = F.one_hot(indices, 512).float()
                self.counts.mul_(0.99).add_(one_hot.sum(0), alpha=0.01)
                self.sums.mul_(0.99).add_(one_hot.t() @ rows, alpha=0.01)
            z_q = self.codebook[indices].view(BATCH, 8, 8, 64).permute(0, 3, 1, 2)
            x_hat = self.decoder(z_e + (z_q - z_e).detach())
            loss = F.mse_loss(x_hat, x) / 0.25 + 0.25 * F.mse_loss(z_e, z_q)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.codebook = self.sums / (self.counts + 1e-5)[:, None]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--out", type=Path, default=Path("runs/cifar10-sonnet"))
    arguments.add_argument("--only", choices=("quality", "speed"))
    chosen = arguments.parse_args()
    result: dict[str, object] = {"machine": machine()}
    if chosen.only != "speed":
        result["held out"] = quality(chosen.data, chosen.out)
    if chosen.only != "quality":
        result["training loop"] = speed(chosen.data)
    print(json.dumps(result, indent=1))
    path = Path(__file__).parent / "results" / "cifar10_sonnet.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(kept | result, indent=1) + "\n")


if __name__ == "__main__":
    main()

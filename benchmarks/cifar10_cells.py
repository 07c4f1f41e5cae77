"""What tables over bottlenecks share: one small network is trained around each on CIFAR-10, and measured."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import Bottleneck, Quantizer, SharedResidualQuantizer
from vqkit.checkpoint import config_of
from vqkit.data import open_dataset, open_source, shuffled, spread, sweep
from vqkit.evaluation import CodebookHealth, Fidelity, Rate, perplexity, usage
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.priors import UnigramPrior
from vqkit.training import TokenizerObjective, Training
from vqkit.training.fit import fit
from vqkit.training.metrics import read_rows

WIDTH, BATCH, LEARNING_RATE, SEED = 64, 128, 2e-3, 0
COUNTED = 5000  # train pictures whose tokens the unigram is of
READ = 250  # pictures a batch where nothing is trained

Cell = dict[str, Any]


def options(doc: str | None, result: str, steps: int, members: Sequence[str]) -> argparse.ArgumentParser:
    """Those that every table has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=steps, help=f"of {BATCH} pictures; {steps} by default")
    parser.add_argument("--members", nargs="+", choices=members, default=members, metavar="NAME", help="all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / result)
    return parser


class Cells:
    """The cells of a table by name, in a JSON file that is written after each of them. A cell that is there already, of
    the same bottleneck and the same training, is not measured again; remove the file to have it measured anew."""

    def __init__(self, data: str, steps: int, out: Path) -> None:
        self.steps, self.out = steps, out
        self.cells: dict[str, Cell] = json.loads(out.read_text())["cells"] if out.exists() else {}
        source = open_source(data)
        self.train_set, self.test_set = (open_dataset(source, Image(32, 3), split) for split in ("train", "test"))

    def measure(self, name: str, make: Callable[[], Bottleneck]) -> Cell:
        """The cell of what `make` makes: `seconds_a_step` of training, then what the test pictures say."""
        torch.manual_seed(SEED)
        bottleneck = make()
        settings = {"steps": self.steps, "batch_size": BATCH, "width": WIDTH, "learning_rate": LEARNING_RATE}
        settings["bottleneck"] = json.loads(json.dumps(config_of(bottleneck)))  # as the file will give it back
        if self.cells.get(name, {}).get("settings") != settings:
            print(f"{name} ...", flush=True)
            torch.manual_seed(SEED)  # the same encoder for all, whatever the bottleneck has drawn
            model = Convolutional(bottleneck, Gaussian(), WIDTH, halvings=2)(self.train_set.signal)
            seconds = self._train(model)
            found = self._of_tokens(model) if isinstance(bottleneck, Quantizer) else self._of_pictures(model)
            self.cells[name] = {"seconds_a_step": seconds, **found, "machine": machine(), "settings": settings}
            self._write()
        return self.cells[name]

    def _write(self) -> None:
        """The file whole or not at all."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        part = self.out.with_suffix(".part")
        part.write_text(json.dumps({"cells": self.cells}, indent=1) + "\n")
        part.replace(self.out)

    def _train(self, model: Autoencoder) -> float:
        """Median seconds a step, without the k-means that codebooks start from."""
        settings = Training(
            max_steps=self.steps,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=self.steps // 10,
            seed=SEED,
            log_every=min(10, self.steps),
            validate_every=self.steps,
        )
        model.initialise(lambda: shuffled(self.train_set, READ, SEED))
        with tempfile.TemporaryDirectory() as folder:
            fit("tokenizer", TokenizerObjective(model), settings, Path(folder), self.train_set, self.test_set)
            rows = read_rows(Path(folder) / "metrics-tokenizer.csv")
        return statistics.median(BATCH / row["samples_per_second"] for row in rows)

    def _of_tokens(self, model: Autoencoder) -> Cell:
        """Of the test pictures: fidelity, use of each codebook, and bits under the unigram of train tokens."""
        unigram = UnigramPrior(model.layout())
        counted = sweep(self.train_set, READ, spread(len(self.train_set), COUNTED))
        unigram.fit((model.encode(batch.x), {}) for batch in counted)
        health, rate = CodebookHealth(unigram.layout), Rate(unigram.layout, None, unigram)
        fidelity = Fidelity(model.signal)
        for batch in sweep(self.test_set, READ):
            indices = model.encode(batch.x)
            health.add(indices)
            rate.add(indices, {})
            fidelity.add(batch.x, model.decode(indices))
        counts = health.counts[0]
        if isinstance(model.bottlenecks[0], SharedResidualQuantizer):
            counts = counts.sum(0, keepdim=True)  # its stages have one codebook together
        nats_a_token = rate.measured().numbers["unigram_nats_per_token"]
        return {
            "nmse": fidelity.measured().numbers["nmse"],
            "usage": usage(counts, unigram.layout.codebook_sizes[0][: len(counts)]).tolist(),
            "perplexity": perplexity(counts).tolist(),
            "tokens_of_a_codebook": counts.sum(1).tolist(),
            "nominal_bits": unigram.layout.nominal_bits,
            "unigram_bits": nats_a_token / math.log(2) * sum(unigram.layout.tokens),
        }

    def _of_pictures(self, model: Autoencoder) -> Cell:
        """What is left to measure where there are no tokens; `kl_bits` are a picture's, None for a point."""
        fidelity, nats = Fidelity(model.signal), []
        for batch in sweep(self.test_set, READ):
            nats.append(model.latents(batch.x)[0].kl)
            fidelity.add(batch.x, model.reconstruct(batch.x))
        kl_bits = float(torch.cat(nats).mean()) / math.log(2)
        return {"nmse": fidelity.measured().numbers["nmse"], "kl_bits": kl_bits if math.isfinite(kl_bits) else None}

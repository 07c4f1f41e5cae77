"""Rate in the loss: does a tokenizer that is told what its tokens cost do better than one with fewer codes?

    python benchmarks/joint_training.py --data FOLDER_WITH_FASHION_MNIST_IDX [--out RUNS] [--quick]

A tokenizer of 256 codes is trained, and then for as many steps again as a stage `joint` has: with a rate weight of 0,
which is just more training, and with larger ones, under a transformer that learns along or a learned unigram. Beside
it tokenizers of fewer codes, the other way to a lower rate, trained for as many steps in all. Afterwards each gets a
transformer of its own, trained for equal steps. Of held-out pictures: MSE on [0, 1], and bits a picture under that
prior and under the unigram. Writes benchmarks/results/joint_training.json, row by row; with --quick, nothing but the
runs. RUNS keeps what is done, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import machine
from torch import Tensor

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import EMAVectorQuantizer
from vqkit.data import Dataset, open_dataset, open_source, shuffled, sweep
from vqkit.evaluation import evaluate
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.priors import LearnedUnigramPrior, Prior, TransformerPrior, UnigramPrior
from vqkit.signal import Layout
from vqkit.tokens import Tokens
from vqkit.training import JointObjective, Objective, PriorObjective, TokenizerObjective, Training
from vqkit.training.fit import fit

RESULT = Path(__file__).parent / "results" / "joint_training.json"
DIM, WIDTH, BATCH = 32, 16, 32


class Scale(NamedTuple):
    """Steps of each training; pictures that the last prior learns from, and held-out ones that are measured."""

    tokenizer: int
    joint: int
    prior: int
    pictures: int
    measured: int


class Way(NamedTuple):
    """How it goes on; `prior` is "transformer" or "unigram". `revival`: codes are revived as in the stage before, which
    joint training by itself does not do."""

    rate_weight: float = 0.0
    prior: str = "transformer"
    temperature: float = 1.0
    revival: bool = True


WHOLE, QUICK = Scale(1000, 600, 500, 8_000, 2_000), Scale(20, 10, 10, 256, 256)
MODELS = [  # what matters most first, for those who stop it
    (256, Way()),
    (256, Way(0.3)),
    (64, Way()),
    (256, Way(0.3, revival=False)),
    (256, Way(revival=False)),
    (256, Way(1.0, revival=False)),
    (16, Way()),
    (256, Way(0.3, temperature=0.25, revival=False)),
    (256, Way(0.3, "unigram", revival=False)),
    (256, Way(0.1, revival=False)),
]
"""How many codes, and how it goes on."""


class Harness:
    """Trains and measures, one picture set and one folder of what is done."""

    def __init__(self, source: str, scale: Scale, out: Path) -> None:
        opened, modality = open_source(source), Image(size=28, channels=1)
        self.train_set, self.test_set = (open_dataset(opened, modality, split) for split in ("train", "test"))
        self.scale, self.out = scale, out
        out.mkdir(parents=True, exist_ok=True)

    def train(self, name: str, objective: Objective, steps: int, data: Any = None, **settings: Any) -> None:
        """Trains in place."""
        chosen = Training(
            max_steps=steps, batch_size=BATCH, learning_rate=2e-3, warmup_steps=100, weight_average=0.99, device="cpu",
            precision="float32", log_every=steps, validate_every=steps, checkpoint_every=steps, **settings,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            data = data or self.train_set
            held_out = self.test_set if isinstance(data, Dataset) else data
            fit(name, objective, chosen, Path(folder), data, held_out, bar=False)

    def tokenizer(self, codes: int) -> Autoencoder:
        """Trained without the rate."""
        folder = self.out / f"tokenizer-{codes}"
        if not folder.exists():
            torch.manual_seed(0)
            model = Convolutional(EMAVectorQuantizer(DIM, codes), Gaussian(0.35), WIDTH, 2)(self.train_set.signal)
            model.initialise(lambda: shuffled(self.train_set, BATCH, 0))
            self.train("tokenizer", TokenizerObjective(model), self.scale.tokenizer)
            checkpoint.save(model, folder)
        return checkpoint.load(folder, Autoencoder)

    def further(self, model: Autoencoder, way: Way) -> None:
        """The joint stage, in place."""
        objective: Objective = TokenizerObjective(model)
        if way.rate_weight or not way.revival:
            torch.manual_seed(0)
            prior = LearnedUnigramPrior(model.layout()) if way.prior == "unigram" else transformer(model.layout())
            objective = JointObjective(model, prior, way.rate_weight, way.temperature)
            if way.revival:
                objective.update = model.update  # type: ignore[method-assign]  # neither prior has one
        self.train("joint", objective, self.scale.joint)

    def measured(self, model: Autoencoder) -> dict[str, float]:
        """Of held-out pictures, under priors of their own."""
        tokens = RowsOfTokens(model, self.train_set, self.scale.pictures)
        torch.manual_seed(0)
        prior, unigram = transformer(model.layout()), UnigramPrior(model.layout())
        self.train("prior", PriorObjective(prior), self.scale.prior, tokens, weight_decay=0.05)
        unigram.fit([(tokens.indices, {})])
        found = evaluate(model, prior.eval(), unigram, sweep(self.test_set, 250, range(self.scale.measured)))
        count = sum(model.layout().tokens)
        bits = {"bits": found["estimated_bits"], "unigram_bits": found["unigram_nats_per_token"] * count / math.log(2)}
        return {name: found[name] for name in ("mse", "psnr", "perplexity")} | bits


class RowsOfTokens:
    """The tokens of the first pictures of a set."""

    def __init__(self, model: Autoencoder, data: Dataset, count: int) -> None:
        batches = list(sweep(data, 250, range(count)))
        self.indices = tuple(torch.cat(level) for level in zip(*(model.encode(b.x) for b in batches), strict=True))
        self.labels: Tensor = torch.cat([batch.side["label"] for batch in batches])

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Sequence[int]) -> Tokens:
        chosen = torch.as_tensor(list(rows))
        tokens = tuple(level[chosen] for level in self.indices)
        return Tokens(tokens, {"label": self.labels[chosen]}, [str(row) for row in rows])


def transformer(layout: Layout) -> Prior:
    """The one that learns along, and the one that is trained afterwards."""
    return TransformerPrior(layout, width=32, depth=2, heads=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="folder of what is done; a temporary one by default")
    parser.add_argument("--quick", action="store_true", help="few steps on few pictures: whether everything works")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    harness = Harness(chosen.data, QUICK if chosen.quick else WHOLE, chosen.out or Path(tempfile.mkdtemp()))
    rows = []
    for codes, way in MODELS:
        name = f"{codes}-" + "-".join(map(str, way))
        stored = harness.out / f"{name}.json"
        if not stored.exists():
            start, model = time.process_time(), harness.tokenizer(codes)
            harness.further(model, way)
            row = {"codes": codes, **way._asdict(), **harness.measured(model)}
            stored.write_text(json.dumps({**row, "processor_seconds": round(time.process_time() - start)}))
        rows.append(json.loads(stored.read_text()))
        print(rows[-1], flush=True)
        if not chosen.quick:
            result = {"machine": machine(), "scale": harness.scale._asdict(), "rows": rows}
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

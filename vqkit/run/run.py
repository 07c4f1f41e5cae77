"""A run is a folder: what training makes, everything here reads.

RUN/  config.yaml   tokenizer/  joint/  tokens/{train,validation}/  prior/  metrics-*.csv   evaluation.json
      report/index.html   samples.png   checkpoints/ (while training lasts)   tensorboard/

joint/ has what joint training made of the tokenizer, where the recipe has such a stage; it is then the run's.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch import Tensor

from vqkit import checkpoint, codec
from vqkit.autoencoders import Autoencoder, reconstruct_any
from vqkit.data import Dataset, Source, mixed, open_source, spread, sweep
from vqkit.evaluation import evaluate
from vqkit.memory import keep_freed_memory
from vqkit.priors import AS_LEARNED, Choice, Prior, UnigramPrior
from vqkit.progress import Progress
from vqkit.recipe import Recipe
from vqkit.recipe import load as load_recipe
from vqkit.run.coded import coded_rate
from vqkit.run.editing import Kept, kept_tokens
from vqkit.run.sampling import Precision, draws, labels_of, variant
from vqkit.signal import Batch, Indices, Layout, Side
from vqkit.tokens import TokenShards
from vqkit.training.metrics import read_rows

Split = Literal["train", "validation", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation")
_BATCH = 256  # samples reconstructed or evaluated at a time
EVALUATED = 10_000
"""Samples of each split that `Run.evaluate` looks at, at most."""


class Run:
    """A trained, or partly trained, run. Everything is loaded when it is first used, to `device`: a GPU where there is
    one. What comes back is on the CPU.

    Raises ValueError where the folder is not a run, or does not hold what is asked of it.
    """

    def __init__(self, folder: str | os.PathLike[str], device: str | torch.device | None = None) -> None:
        keep_freed_memory()
        self.folder = Path(folder)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if not (self.folder / "config.yaml").is_file():
            raise ValueError(
                f"{folder} is not a run (it has no config.yaml); make one with: vqkit train RECIPE --out {folder}"
            )

    @cached_property
    def config(self) -> str:
        """The YAML of every setting, defaults written out."""
        return (self.folder / "config.yaml").read_text()

    @cached_property
    def recipe(self) -> Recipe:
        """The configuration's parts, untrained."""
        return load_recipe(self.config)

    def _made(self, part: Literal["tokenizer", "tokens", "prior"]) -> Path:
        """What a stage of training left. Raises ValueError where that stage is still to come."""
        joint = ["joint"] if yaml.safe_load(self.config).get("joint") else []
        stages = ["tokenizer", *joint, "tokens", "prior"]
        if part != "tokenizer" and (self.folder / "tokenizer").is_dir():
            _ = self.tokenizer.quantizers  # refuses what has no indices, so that no command is named that cannot work
        missing = [stage for stage in stages[: stages.index(part) + 1] if not (self.folder / stage).is_dir()]
        if part in missing:
            raise ValueError(
                f"{self.folder} has no {part} yet; run: vqkit train {self.folder / 'config.yaml'} --out {self.folder} "
                f"--stages {','.join(missing)} (or leave --stages out, for all that is missing)"
            )
        last = "joint" if part == "tokenizer" and (self.folder / "joint").is_dir() else part
        return self.folder / last

    @cached_property
    def tokenizer(self) -> Autoencoder:
        """The trained autoencoder, frozen: what joint training made of it, if that is done."""
        model = checkpoint.load(self._made("tokenizer"), Autoencoder).freeze().to(self.device)
        return model.to(memory_format=torch.channels_last) if len(model.signal.grid) == 2 else model  # type: ignore[call-overload]

    @cached_property
    def layout(self) -> Layout:
        """The grids and alphabets of the tokens."""
        return self.tokenizer.layout()

    @cached_property
    def fingerprint(self) -> str:
        """What names this very tokenizer, in token shards and in priors."""
        return checkpoint.fingerprint(self._made("tokenizer"))

    @cached_property
    def prior(self) -> Prior:
        """The trained prior. Raises ValueError where it was trained on tokens of another tokenizer."""
        folder = self._made("prior")
        prior: Prior = checkpoint.load(folder, Prior)  # type: ignore[type-abstract]
        written_for = checkpoint.facts(folder).get("tokenizer")
        if written_for != self.fingerprint:
            raise ValueError(
                f"the prior in {folder} was trained on tokens of tokenizer {written_for}, not {self.fingerprint}; "
                "train it again with --stages tokens,prior --overwrite"
            )
        return prior.requires_grad_(False).to(self.device)

    def tokens(self, split: Split) -> TokenShards:
        """This run's own tokens."""
        return TokenShards(self._made("tokens") / split, self.fingerprint)

    @cached_property
    def unigram(self) -> UnigramPrior:
        """How often each code is used in the train tokens: the baseline of every prior."""
        prior = UnigramPrior(self.layout)
        prior.fit(self.token_batches("train"))
        return prior.to(self.device)

    def token_batches(self, split: Split) -> Iterator[tuple[Indices, Side]]:
        """All of a split's own tokens, in order."""
        shards = self.tokens(split)
        for start in range(0, len(shards), 4096):
            tokens = shards.read(range(start, min(start + 4096, len(shards))))
            yield tokens.indices, tokens.side

    def dataset(self, split: Split, source: str | Source | None = None, strict: bool = False) -> Dataset:
        """A split of a source, by default of the one that the run was trained on. Labels are left out where the classes
        are others than the run's. Raises ValueError where its samples are of another size."""
        recipe, signal = self.recipe, self.tokenizer.signal
        opened = open_source(source or recipe.data) if not isinstance(source, Source) else source
        records = opened.split(split, recipe.validation_share)
        if records.label_names != signal.labels:  # the numbers of other classes would be taken for ours
            records = records._replace(labels=None, label_names=())
        data = Dataset(records, recipe.modality, strict)
        if (data.signal.channels, data.signal.grid) != (signal.channels, signal.grid):
            raise ValueError(
                f"{opened.name} has {data.signal.channels} channels on {data.signal.grid}, this run takes "
                f"{signal.channels} on {signal.grid}; convert it, or train with modality.size and modality.channels set"
            )
        return data

    def sample(
        self,
        n: int = 64,
        label: int | str | None = None,
        choice: Choice = AS_LEARNED,
        seed: int = 0,
        kept: Kept | None = None,
        steps: int | None = None,
        precision: Precision = "float32",
    ) -> Tensor:
        """Draws [n, C, *grid] native values: tokens from the prior, then decoded. Where there are none, the latent is
        drawn from its training prior, such as N(0, I), and a choice of codes is refused.

        `label` is a class by name or number; without one, a labelled prior or decoder draws the classes in turn.
        `choice` is of each token: its temperature, top_k, top_p and guidance.

        Where a part of a picture is `kept`, only the other tokens are drawn. A masked prior sees what is kept on all
        sides, any other what is kept before each token. What comes back is decoded, so what is kept is a
        reconstruction; of residual scales only about, as the finer ones code what the original coarse ones left.
        Without a label it is drawn as of any class.

        A masked prior fills each level in `steps` steps, by default those of its recipe: more make better samples, up
        to a point. In a `precision` of bfloat16 the prior is another distribution, a little off, and where products
        with its matrices take the time it is faster.
        """
        return torch.cat(list(self.draws(n, label, choice, seed, kept, steps, precision, bar=False)))

    def draws(
        self,
        n: int = 64,
        label: int | str | None = None,
        choice: Choice = AS_LEARNED,
        seed: int = 0,
        kept: Kept | None = None,
        steps: int | None = None,
        precision: Precision = "float32",
        bar: bool | None = None,
    ) -> Iterator[Tensor]:
        """What `sample` draws, batch after batch, each as soon as it is done; `bar` as of `Progress`."""
        known = None if kept is None else kept_tokens(self.tokenizer, self.recipe.modality, kept)
        prior = variant(self.prior, steps, precision) if self.tokenizer.discrete else None
        if prior is None and (steps is not None or precision != "float32"):
            raise ValueError("steps and precision are for drawing codes, which this model lacks; leave them out")
        labels = self.labels(n, label)
        if kept is not None and label is None and labels is not None:
            if prior is None or not prior.guidable or self.tokenizer.decoder.classes:
                raise ValueError(
                    "this run draws samples of a class, and does not know that of what is kept; name a label"
                )
            labels = None
        return draws(self.tokenizer, prior, n, labels, choice, known, seed, bar)

    @property
    def can_sample(self) -> bool:
        """Whether there is a prior to draw from: a learned one over tokens, or without tokens every bottleneck's."""
        if self.tokenizer.discrete:
            return (self.folder / "prior").is_dir()
        return all(bottleneck.has_prior for bottleneck in self.tokenizer.bottlenecks)

    def labels(self, n: int, label: int | str | None = None) -> Tensor | None:
        """The labels [n] that `sample` draws for; None where neither prior nor decoder is told any."""
        return labels_of(self.tokenizer, self.prior if self.tokenizer.discrete and self.can_sample else None, n, label)

    def reconstruct(self, x: Tensor, side: Side | None = None, levels: int | None = None) -> Tensor:
        """x [B, C, *grid] native -> its reconstruction, native. `side` has the labels [B] where the decoder is told
        them; of the first `levels` alone, coarse to fine, where the model can do that. The grid may be any where the
        tokenizer takes that; large samples pass in windows, so that memory is that of a window and of the result."""
        signal, reconstructed = self.tokenizer.signal, []
        together = max(1, min(_BATCH, _BATCH * signal.dims // max(1, x[:1].numel())))
        for start in range(0, len(x), together):
            rows = slice(start, start + together)
            told = {name: fact[rows].to(self.device) for name, fact in (side or {}).items()}
            reconstructed.append(reconstruct_any(self.tokenizer, x[rows], told, levels, rounded=True).cpu())
        return torch.cat(reconstructed)

    def save_samples(self, x: Tensor, path: str | os.PathLike[str], columns: int | None = None) -> None:
        """Samples [n, C, *grid] as a picture (.png), by default about as wide as high, or as values (.npy)."""
        path, made = self.check_samples_path(path), io.BytesIO()
        if path.suffix == ".npy":
            np.save(made, x.numpy())
        else:
            self.recipe.modality.preview(x, columns).save(made, "PNG")
        with codec.whole(path) as file:
            file.write(made.getbuffer())

    def check_samples_path(self, path: str | os.PathLike[str]) -> Path:
        """Raises ValueError where `save_samples` could not write there."""
        path = Path(path)
        if path.suffix not in (".png", ".npy"):
            raise ValueError(f"{path} ends in neither .png nor .npy; name such a file")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"the folder of {path} does not exist; make it first")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file in it")
        try:
            tempfile.TemporaryFile(dir=path.absolute().parent).close()
        except OSError as error:
            raise ValueError(f"nothing can be written beside {path} ({error.strerror}); name another file") from error
        return path

    def evaluate(self, source: str | None = None, samples: int = EVALUATED, bar: bool | None = None) -> dict[str, Any]:
        """Every number, for the train and the validation split, of up to `samples` samples of each."""
        if samples < 1:
            raise ValueError(f"samples is {samples}; evaluate at least one")
        opened = open_source(source or self.recipe.data)
        has_prior, discrete = (self.folder / "prior").is_dir(), self.tokenizer.discrete
        prior, unigram = self.prior if has_prior else None, self.unigram if discrete else None
        results: dict[str, Any] = {}
        for split in SPLITS:
            data = self.dataset(split, opened)
            rows = mixed(spread(len(data), samples))  # `Evidence` swaps neighbours, and sources may be sorted by class
            with Progress(f"evaluation of {split}", len(rows), "sample", bar) as progress:
                batches = _counted(sweep(data, _BATCH, rows), progress)
                results[split] = evaluate(self.tokenizer, prior, unigram, batches)
        if prior is not None:  # of the held-out samples alone, since coding takes a walk
            results[SPLITS[-1]] |= coded_rate(self.tokenizer, prior, self.modality_name, data, samples)
        return results

    @property
    def modality_name(self) -> str:
        """The name of what its data are: "image"."""
        return type(self.recipe.modality).__name__.lower()

    def save_evaluation(self, numbers: dict[str, Any]) -> None:
        """evaluation.json, whole or not at all."""
        part = self.folder / "evaluation.json.part"
        part.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        part.rename(self.results["evaluation"])

    @property
    def evaluation(self) -> dict[str, Any]:
        """What evaluation.json holds, by split. Raises ValueError where there is none."""
        if not self.results["evaluation"].exists():
            raise ValueError(
                f"{self.folder} is not evaluated yet; run: vqkit evaluate {self.folder}, or the vqkit train that made "
                "it, which goes on where it stopped"
            )
        numbers: dict[str, Any] = json.loads(self.results["evaluation"].read_text())
        return numbers

    @property
    def metrics(self) -> dict[str, list[dict[str, float]]]:
        """What training logged, by stage; no rows of a stage that was not trained."""
        return {stage: read_rows(self.folder / f"metrics-{stage}.csv") for stage in ("tokenizer", "joint", "prior")}

    @property
    def results(self) -> dict[str, Path]:
        """Where a finished run has what people look at."""
        return {
            "report": self.folder / "report" / "index.html",
            "samples": self.folder / "samples.png",
            "evaluation": self.folder / "evaluation.json",
        }


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(len(batch.key))


def load(folder: str | os.PathLike[str], device: str | torch.device | None = None) -> Run:
    """The run in a folder."""
    return Run(folder, device)

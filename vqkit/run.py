"""A run is a folder: what training makes, everything here reads.

RUN/  config.yaml   tokenizer/  prior/  tokens/{train,validation}/  metrics-*.csv   evaluation.json
      report/index.html   samples.png   checkpoints/ (while training lasts)   tensorboard/
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, Source, named_files, open_source, spread, sweep, told_apart
from vqkit.evaluation import evaluate
from vqkit.memory import keep_freed_memory
from vqkit.priors import Prior, UnigramPrior, sample
from vqkit.progress import Progress
from vqkit.recipe import Recipe
from vqkit.recipe import load as load_recipe
from vqkit.signal import Batch, Indices, Layout, Side
from vqkit.tokens import Tokens, TokenShards, shard_path, source_of, write_shard
from vqkit.training.metrics import read_rows

Split = Literal["train", "validation", "all"]
SPLITS: tuple[Split, ...] = ("train", "validation")
_BATCH = 256  # samples encoded, decoded or drawn at a time
_SHARD = 65_536  # samples a token shard
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
        stages = ("tokenizer", "tokens", "prior")
        if part != "tokenizer" and (self.folder / "tokenizer").is_dir():
            _ = self.tokenizer.quantizers  # refuses what has no indices, so that no command is named that cannot work
        missing = [stage for stage in stages[: stages.index(part) + 1] if not (self.folder / stage).is_dir()]
        if part in missing:
            raise ValueError(
                f"{self.folder} has no {part} yet; run: vqkit train {self.folder / 'config.yaml'} --out {self.folder} "
                f"--stages {','.join(missing)} (or leave --stages out, for all that is missing)"
            )
        return self.folder / part

    @cached_property
    def tokenizer(self) -> Autoencoder:
        """The trained autoencoder, frozen."""
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
        return prior

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

    def tokenize(self, data: Dataset, out: str | os.PathLike[str], bar: bool | None = None) -> TokenShards:
        """Token shards of a data set in the folder `out`; one that was stopped goes on where it stopped."""
        out, tokenizer, layout = Path(out), self.tokenizer, self.layout
        if any(out.glob("tokens-*.parquet")):
            TokenShards(out, self.fingerprint)  # refuses a folder of another tokenizer's tokens
        with Progress(f"tokens of {out.name}", len(data), "sample", bar) as progress:
            for number, start in enumerate(range(0, len(data), _SHARD)):
                rows, path = range(start, min(start + _SHARD, len(data))), shard_path(out, number)
                source = _fingerprint(data, rows)
                if path.exists():
                    if source_of(path) != source:
                        raise ValueError(f"{path} holds tokens of other samples; tokenize into an empty folder")
                    progress.advance(len(rows))
                else:
                    batches = _encode(tokenizer, data, rows, progress)
                    write_shard(path, batches, layout, self.fingerprint, source)
        return TokenShards(out, self.fingerprint)

    def tokenize_source(
        self, source: str, out: str | os.PathLike[str], strict: bool = False, bar: bool | None = None
    ) -> dict[str, int]:
        """Both splits of a source as token shards in OUT/train and OUT/validation; returns how many samples each has,
        and how many were skipped."""
        opened, skipped = open_source(source), 0
        counts: dict[str, int] = {}
        single = sum(len(records.keys) for records in opened.splits.values()) == 1
        for split in ("all",) if single else SPLITS:
            data = self.dataset(split, opened, strict)
            counts[split] = len(self.tokenize(data, Path(out) / split, bar))
            skipped += data.skipped
        return {**counts, "skipped": skipped}

    def sample(
        self,
        n: int = 64,
        label: int | str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Draws [n, C, *grid] native values: tokens from the prior, then decoded. Where there are none, the latent is
        drawn from its training prior, such as N(0, I), and a temperature or a choice of codes is refused.

        `label` is a class by name or number; without one, a labelled prior or decoder draws the classes in turn.
        """
        if n < 1:
            raise ValueError(f"n is {n}; draw at least one sample")
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed}; make it 0 or more and less than 2^63")
        discrete = self.tokenizer.discrete
        if not discrete and (temperature, top_k, top_p) != (1.0, None, None):
            raise ValueError(
                "temperature, top_k and top_p are for drawing codes, which this model lacks; leave them out"
            )
        labels = self.labels(n, label)
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for start in range(0, n, _BATCH):
            side: Side = {} if labels is None else {"label": labels[start : start + _BATCH].to(self.device)}
            count = min(_BATCH, n - start)
            if discrete:
                indices = sample(
                    self.prior,
                    self.layout,
                    count,
                    side,
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    generator=generator,
                )
                x_hat = self.tokenizer.render(indices, side, generator)
            else:
                x_hat = self.tokenizer.sample(count, side, generator)
            drawn.append(self._to_native(x_hat))
        return torch.cat(drawn)

    @property
    def can_sample(self) -> bool:
        """Whether there is a prior to draw from: a learned one over tokens, or without tokens every bottleneck's."""
        if self.tokenizer.discrete:
            return (self.folder / "prior").is_dir()
        return all(bottleneck.has_prior for bottleneck in self.tokenizer.bottlenecks)

    def labels(self, n: int, label: int | str | None = None) -> Tensor | None:
        """The labels [n] that `sample` draws for; None where neither prior nor decoder is told any."""
        told = self.tokenizer.discrete or self.tokenizer.decoder.classes
        names = self.tokenizer.signal.labels if told else ()
        if label is None:
            return torch.arange(n) % len(names) if names else None
        if not names:
            raise ValueError("this run was trained without labels; leave label out")
        if str(label) not in names and not (str(label).isdigit() and int(label) < len(names)):
            raise ValueError(f"there is no label {label}; name one of {', '.join(names)}")
        return torch.full((n,), names.index(str(label)) if str(label) in names else int(label))

    def reconstruct(self, x: Tensor, side: Side | None = None, levels: int | None = None) -> Tensor:
        """x [B, C, *grid] native -> its reconstruction, native. `side` has the labels [B] where the decoder is told
        them; of the first `levels` alone, coarse to fine, where the model can do that."""
        reconstructed = []
        for start in range(0, len(x), _BATCH):
            rows = slice(start, start + _BATCH)
            told = {name: fact[rows].to(self.device) for name, fact in (side or {}).items()}
            reconstructed.append(self._to_native(self.tokenizer.reconstruct(x[rows], told, levels=levels)))
        return torch.cat(reconstructed)

    def save_samples(self, x: Tensor, path: str | os.PathLike[str], columns: int | None = None) -> None:
        """Samples [n, C, *grid] as a picture (.png), by default about as wide as high, or as values (.npy)."""
        path = self.check_samples_path(path)
        if path.suffix == ".npy":
            np.save(path, x.numpy())
        else:
            self.recipe.modality.preview(x, columns).save(path)

    def check_samples_path(self, path: str | os.PathLike[str]) -> Path:
        """Raises ValueError where `save_samples` could not write there."""
        path = Path(path)
        if path.suffix not in (".png", ".npy"):
            raise ValueError(f"{path} ends in neither .png nor .npy; name such a file")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"the folder of {path} does not exist; make it first")
        return path

    def reconstruct_files(
        self,
        files: Sequence[str],
        out: str | os.PathLike[str],
        levels: int | None = None,
        label: int | str | None = None,
    ) -> list[Path]:
        """Each file, and each of a folder's, through the bottlenecks, the first `levels` alone if that is given, into
        the folder `out` under the same name as .png; returns the paths. Names that clash are told apart by their
        folders. `label` is the class of all of them, where the decoder must be told one."""
        modality, out = self.recipe.modality, Path(out)
        sources, xs = named_files(files, modality.suffixes), []
        side = self._side(len(sources), label)
        for file in sources:  # all are read before anything is written
            shape = (x := modality.decode(file)).shape
            if shape != (*self.tokenizer.signal.grid, self.tokenizer.signal.channels):
                raise ValueError(
                    f"{file} is {list(shape)}, this run takes {list(self.tokenizer.signal.grid)}; resize it"
                )
            xs.append(torch.from_numpy(x.copy()).movedim(-1, 0))
        paths = [out / name for name in told_apart([file.with_suffix(".png") for file in sources])]
        if {path.resolve() for path in paths} & {file.resolve() for file in sources}:
            raise ValueError(f"the reconstructions would replace files in {out}; name another folder")
        for x_hat, path in zip(self.reconstruct(torch.stack(xs), side, levels), paths, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            modality.save(x_hat, path)
        return paths

    def _side(self, n: int, label: int | str | None) -> Side:
        """What the decoder is told of `n` samples of one class."""
        if not self.tokenizer.decoder.classes:
            if label is not None:
                raise ValueError("this run's decoder is told no label; leave label out")
            return {}
        if label is None:
            names = ", ".join(self.tokenizer.signal.labels)
            raise ValueError(f"this run's decoder is told a label; give the files' one as label, of {names}")
        labels = self.labels(n, label)
        assert labels is not None
        return {"label": labels}

    def _to_native(self, x_hat: Tensor) -> Tensor:
        return self.tokenizer.signal.to_native(x_hat).cpu()

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
            rows = spread(len(data), samples)
            with Progress(f"evaluation of {split}", len(rows), "sample", bar) as progress:
                batches = _counted(sweep(data, _BATCH, rows), progress)
                results[split] = evaluate(self.tokenizer, prior, unigram, batches)
        return results

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
        return {stage: read_rows(self.folder / f"metrics-{stage}.csv") for stage in ("tokenizer", "prior")}

    @property
    def results(self) -> dict[str, Path]:
        """Where a finished run has what people look at."""
        return {
            "report": self.folder / "report" / "index.html",
            "samples": self.folder / "samples.png",
            "evaluation": self.folder / "evaluation.json",
        }


def _fingerprint(data: Dataset, rows: range) -> str:
    """What names these samples: their keys, and the content of the first and the last."""
    digest = hashlib.sha256("\n".join(data.keys[row] for row in rows).encode("utf-8", "surrogateescape"))
    digest.update(data.read([rows[0], rows[-1]]).x.numpy().tobytes())
    return digest.hexdigest()[:16]


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(len(batch.key))


def _encode(tokenizer: Autoencoder, data: Dataset, rows: range, progress: Progress) -> Iterator[Tokens]:
    for batch in sweep(data, _BATCH, rows):
        indices = tokenizer.encode(batch.x.to(tokenizer.device), batch.side, batch.mask)
        yield Tokens(indices, batch.side, batch.key)
        progress.advance(len(batch.key))


def load(folder: str | os.PathLike[str], device: str | torch.device | None = None) -> Run:
    """The run in a folder."""
    return Run(folder, device)

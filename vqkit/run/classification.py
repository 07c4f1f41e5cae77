"""What a classifier learns from a run's samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vqkit.data import spread, sweep
from vqkit.evaluation import classification_accuracy
from vqkit.features import Labelled
from vqkit.progress import Progress
from vqkit.run.run import EVALUATED, Run
from vqkit.signal import Batch

_BATCH = 256  # samples reconstructed or drawn at a time
_STEPS = 2000  # of each classifier
_MOST, _VALUES = 60_000, 1 << 30  # samples that a classifier learns from, and their values: bytes, of pictures


def classification(run: Run, bar: bool | None = None) -> dict[str, Any]:
    """`classification_accuracy` of train data as they are ("real"), of their reconstructions, and of as many samples of
    the model, its classes in turn; tested on held-out data.

    Up to 60,000 samples of each, and of large ones as many as a gigabyte holds. Raises ValueError where there are no
    labels, no prior, or one that knows no classes.
    """
    _require_classes(run)
    signal, data, held_out = run.tokenizer.signal, run.dataset("train"), run.dataset("validation")
    rows = spread(len(data), min(_MOST, max(1, _VALUES // signal.dims)))

    def of_data(name: str, remake: Callable[[Batch], Tensor]) -> Labelled:
        made, label = [], []
        with Progress(name, len(rows), "sample", bar) as progress:
            for batch in sweep(data, _BATCH, rows):
                made.append(remake(batch))
                label.append(batch.side["label"])
                progress.advance(len(made[-1]))
        return Labelled(torch.cat(made), torch.cat(label))

    def drawn() -> Labelled:
        made, label = [], []
        count = max(1, _BATCH // len(signal.labels)) * len(signal.labels)  # every class as often as any other
        with Progress("samples", len(rows), "sample", bar) as progress:
            for seed, start in enumerate(range(0, len(rows), count)):
                made.append(run.sample(min(count, len(rows) - start), seed=seed))
                asked = run.labels(len(made[-1]))
                assert asked is not None  # a run whose samples are of no class was refused
                label.append(asked)
                progress.advance(len(made[-1]))
        return Labelled(torch.cat(made), torch.cat(label))

    return classification_accuracy(
        signal,
        {
            "real": lambda: of_data("real data", lambda batch: batch.x),
            "reconstructions": lambda: of_data("reconstructions", lambda batch: run.reconstruct(batch.x, batch.side)),
            "samples": drawn,
        },
        lambda: sweep(held_out, _BATCH, spread(len(held_out), EVALUATED)),
        _STEPS,
        run.device,
        bar,
    )


def _require_classes(run: Run) -> None:
    """Raises ValueError where the run's samples are of no known class."""
    if not run.tokenizer.signal.labels:
        raise ValueError(
            "the data of this run have no labels, which a classifier learns; train on a source that has them, such as "
            "a folder with one subfolder a class"
        )
    if run.tokenizer.discrete:
        prior = run.prior  # refuses a run without one
        if not (prior.knows_classes or run.tokenizer.decoder.classes):
            raise ValueError(
                f"{type(prior).__name__} knows no classes, so its samples have none to be told by; train a prior that "
                "does, such as TransformerPrior"
            )
    elif not run.can_sample:
        raise ValueError("this model has no prior to draw samples from; use a quantizer, or a GaussianBottleneck")
    elif not run.tokenizer.decoder.classes:
        raise ValueError(
            "this model draws samples of no class; tell its decoder the label with tokenizer.label_dim above 0"
        )

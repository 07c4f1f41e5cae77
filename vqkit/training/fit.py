"""Runs one stage to its end, from the start or from the last checkpoint."""

from __future__ import annotations

import errno
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from vqkit.data import Readable
from vqkit.memory import keep_freed_memory
from vqkit.training.log import Log
from vqkit.training.objectives import Objective
from vqkit.training.settings import Training
from vqkit.training.stage import Stage
from vqkit.training.states import last_state, states_of


def fit(
    name: str,
    objective: Objective,
    settings: Training,
    folder: Path,
    train_set: Readable[Any],
    held_out: Readable[Any],
    bar: bool | None = None,
) -> None:
    """Trains `objective.model` in place, leaving it with the averaged weights.

    `folder` gets metrics-`name`.csv, TensorBoard's files and, while it lasts, checkpoints/`name`: if a checkpoint is
    there, training goes on from it and ends with the same weights as if it had never stopped. Both sets are read by
    row: a `Dataset` for a tokenizer, `TokenShards` for a prior. Raises ValueError where the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    objective.train()
    stage = Stage(objective, settings, train_set, held_out)
    device = settings.resolve_device()
    if (memory_format := _memory_format(objective)) is not None:
        objective.to(memory_format=memory_format)  # type: ignore[call-overload]
    with _quiet():
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=settings.devices,
            strategy=DDPStrategy(start_method="spawn", broadcast_buffers=False) if settings.devices > 1 else "auto",
            precision="bf16-mixed" if settings.resolve_precision() == torch.bfloat16 else "32-true",
            max_steps=settings.max_steps,
            callbacks=[
                Log(name, folder, bar),
                ModelCheckpoint(
                    states_of(folder, name),
                    "step{step}",
                    auto_insert_metric_name=False,
                    every_n_train_steps=settings.checkpoint_every,
                    enable_version_counter=False,
                ),
            ],
            plugins=[_WholeFiles()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(stage, ckpt_path=last_state(folder, name), weights_only=True)
        except ProcessRaisedException as error:
            raise _mistake_inside(error) from None
        except SystemExit:  # what Lightning makes of Ctrl-C, after it has told the process to ignore the next ones
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
    objective.to("cpu").eval()


class _WholeFiles(TorchCheckpointIO):
    """A state appears whole or not at all: a kill while it is written leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        part = Path(path).with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.save(checkpoint, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _memory_format(objective: Objective) -> torch.memory_format | None:
    """Channels-last is the faster format of convolutions; it is the one that the data come in."""
    ranks = {p.ndim for p in objective.parameters()}
    return torch.channels_last if 4 in ranks else torch.channels_last_3d if 5 in ranks else None


def _mistake_inside(error: BaseException) -> BaseException:
    """A mistake or a full disk in another process, as itself; anything else as it came."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    if kind == "ValueError":
        return ValueError(message)
    if kind == "OSError" and message.startswith(f"[Errno {errno.ENOSPC}]"):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's hints are for its own users: what they say about loaders and processes does not hold here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for category in (UserWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module="lightning")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

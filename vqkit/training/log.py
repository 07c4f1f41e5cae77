"""What training tells: progress with the numbers that matter, a row of metrics.csv, a point in TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
from torch.utils.tensorboard import SummaryWriter

from vqkit.progress import Progress
from vqkit.training.metrics import MetricsFile
from vqkit.training.stage import Stage


class Log(lightning.Callback):
    """Every `log_every` steps, from the first process alone. A resumed stage goes on in the same files: what an
    interrupted run wrote after its last checkpoint is dropped first."""

    def __init__(self, name: str, folder: Path, bar: bool | None = None) -> None:
        self.name, self.folder, self.show_bar = name, folder, bar
        self.validated: dict[str, float] = {}
        self.progress: Progress | None = None
        self.since = self.waited = 0.0  # seconds: of the row's start, and waited for data until then
        self.steps_since = 0

    def on_train_start(self, trainer: lightning.Trainer, stage: lightning.LightningModule) -> None:
        assert isinstance(stage, Stage)
        if not trainer.is_global_zero:
            return
        self.metrics = MetricsFile(self.folder / f"metrics-{self.name}.csv", trainer.global_step)
        self.writer = SummaryWriter(str(self.folder / "tensorboard" / self.name), purge_step=trainer.global_step)
        self.progress = Progress(self.name, stage.settings.max_steps, "step", self.show_bar, trainer.global_step)
        self._start_row(trainer.global_step, stage.waited)

    def _start_row(self, step: int, waited: float) -> None:
        self.since, self.steps_since, self.waited = time.perf_counter(), step, waited

    def on_train_batch_end(
        self, trainer: lightning.Trainer, stage: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(stage, Stage)
        settings, step = stage.settings, trainer.global_step
        last = step == settings.max_steps
        if self.progress is None or (step % settings.log_every and step % settings.validate_every and not last):
            return
        stage.require_finite()
        seconds = time.perf_counter() - self.since
        row = {"step": float(step)} | {name: float(value) for name, value in stage.logs.items()}
        row["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["samples_per_second"] = (step - self.steps_since) * settings.batch_size / seconds
        row["waiting_for_data"] = (stage.waited - self.waited) / seconds
        validates = step % settings.validate_every == 0 or last
        if validates:
            self.validated = {f"validation_{name}": value for name, value in stage.validate().items()}
            row |= self.validated
        self.metrics.append(row)
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)
        self.progress.advance(step - self.progress.done, _summary(row | self.validated), told=validates)
        self._start_row(step, stage.waited)

    def on_train_end(self, trainer: lightning.Trainer, stage: lightning.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: lightning.Trainer, stage: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self.progress is not None:
            self.progress.close()
            self.writer.close()


def _summary(row: dict[str, float]) -> str:
    shown = {
        "loss": "{:.4f}",
        "perplexity": "{:.0f}",
        "usage": "{:.0%}",
        "batch_perplexity": "{:.0f}",
        "batch_usage": "{:.0%}",
        "kl": "{:.1f}",
        "validation_mse": "{:.5f}",
        "validation_nats_per_token": "{:.3f}",
        "samples_per_second": "{:,.0f}/s",
    }
    names = {"validation_mse": "mse", "validation_nats_per_token": "nats/token", "samples_per_second": "samples"}
    return " ".join(f"{names.get(n, n)} {form.format(row[n])}" for n, form in shown.items() if n in row)

"""The Lightning module of one stage: batches by step, optimizer, moving average, state changes once a step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from vqkit.bottlenecks import NotFinite
from vqkit.data import Readable, shuffled, spread, sweep
from vqkit.training.average import WeightAverage
from vqkit.training.objectives import Objective
from vqkit.training.settings import Training

# Kernels and matrices of nets. Codes and embeddings would only shrink where they are not used.
_DECAYED = (nn.Linear, nn.modules.conv._ConvNd)
_VALIDATED, _VALIDATION_BATCH = 512, 256  # held-out samples that training looks at


class Stage(lightning.LightningModule):
    """Everything in a step is a function of the seed and the step's number, so that a resumed run ends with the same
    weights as one that was never stopped."""

    def __init__(
        self,
        objective: Objective,
        settings: Training,
        train_set: Readable[Any],
        held_out: Readable[Any],
    ) -> None:
        super().__init__()
        self.objective, self.settings = objective, settings
        self.train_set, self.held_out = train_set, held_out
        self.average: WeightAverage | None = None
        self._averaged: dict[str, Any] | None = None
        self.logs: dict[str, Tensor] = {}
        self.waited = 0.0  # seconds, for batches

    def on_fit_start(self) -> None:
        if self.settings.weight_average:
            self.average = WeightAverage(self.objective.model, self.settings.weight_average)
            if self._averaged is not None:
                self.average.load_state_dict(self._averaged)

    def train_dataloader(self) -> _Batches:
        return _Batches(self)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # A walk over the batch's fields costs more than it should where nothing has to move.
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Any, number: int) -> Tensor:
        torch.manual_seed(hash((self.settings.seed, self.global_step, self.global_rank)) % 2**63)
        loss: Tensor
        try:
            loss, logs = self.objective(batch)
        except NotFinite:
            raise ValueError(self._not_finite("z_e is not finite")) from None
        self.logs = {"loss": loss.detach(), **logs}
        if (
            self.device.type == "cpu"
        ):  # on a GPU a look at the loss stops the queue of kernels; `Log` looks now and then
            self.require_finite()
        return loss

    def require_finite(self) -> None:
        """Raises ValueError where the last step's loss, or a part of it, is not a number."""
        broken = [name for name, value in self.logs.items() if not math.isfinite(float(value))]
        if broken:
            raise ValueError(self._not_finite(f"{' and '.join(broken)} became {float(self.logs[broken[-1]])}"))

    def _not_finite(self, what: str) -> str:
        return (
            f"{what} at step {self.global_step + 1} of the "
            f"{type(self.objective).__name__.removesuffix('Objective').lower()}; lower its learning_rate, or train "
            "with precision float32, and start again with --overwrite"
        )

    def configure_gradient_clipping(self, *arguments: Any, **named: Any) -> None:
        # Lightning's own refuses fused optimizers because of float16's scaler, which bfloat16 does without.
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.settings.gradient_clip)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        try:
            self.objective.update()
        except NotFinite:
            raise ValueError(self._not_finite("z_e was not finite")) from None
        if self.average is not None:
            self.average.update()

    def configure_optimizers(self) -> Any:
        settings = self.settings
        weights = {id(p): p for p in self.objective.parameters() if p.requires_grad}
        kernels = {id(m.weight) for m in self.objective.modules() if isinstance(m, _DECAYED)} & weights.keys()
        groups = [
            {"params": [p for key, p in weights.items() if key in kernels], "weight_decay": settings.weight_decay},
            {"params": [p for key, p in weights.items() if key not in kernels], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, settings.beta2), fused=True)

        warmup = min(settings.warmup_steps, settings.max_steps // 5)  # a short run is not all warm-up

        def share(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, warmup))
            done = min(1.0, max(0, step - warmup) / max(1, settings.max_steps - warmup))
            return warm * 0.5 * (1 + math.cos(math.pi * done))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def validate(self) -> dict[str, float]:
        """The objective's numbers over held-out data, by the averaged weights."""
        batches = sweep(self.held_out, _VALIDATION_BATCH, spread(len(self.held_out), _VALIDATED))
        with self.average.applied() if self.average is not None else nullcontext():
            try:
                return self.objective.validate(batches)
            except NotFinite:
                raise ValueError(self._not_finite("held-out z_e is not finite")) from None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:
            checkpoint["weight_average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._averaged = checkpoint.get("weight_average")

    def on_fit_end(self) -> None:  # also where a checkpoint of the last step left nothing to train
        if self.average is not None:
            self.average.copy_to_model()


class _Batches:
    """A loader that starts at the stage's step: Lightning iterates over it once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __iter__(self) -> Iterator[Any]:
        stage, settings = self.stage, self.stage.settings
        ranks = (stage.global_rank, stage.trainer.world_size)
        batches = shuffled(stage.train_set, settings.batch_size, settings.seed, stage.global_step, *ranks)
        while True:  # they never end
            start = time.perf_counter()
            batch = next(batches)
            stage.waited += time.perf_counter() - start
            yield batch

"""The settings of one stage of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass
class Training:
    """How one stage is trained: AdamW, linear warm-up, cosine to zero.

    Args:
        max_steps: optimizer steps.
        batch_size: samples a step, over all devices.
        learning_rate: the peak, after the warm-up.
        warmup_steps: steps of linear warm-up, at most a fifth of max_steps.
        beta2: AdamW's second-moment decay.
        weight_decay: AdamW's decay of matrices and kernels; biases and norms have none.
        gradient_clip: the largest gradient norm; 0 does not clip.
        weight_average: decay of the moving average of the weights, which is what a run keeps; 0 keeps the last weights.
        seed: of the initial weights, the batches and every draw.
        precision: of the nets in training; auto takes bfloat16 where the processor has it.
        devices: processes, each on its own device, that share each batch; codebooks stay equal on all of them.
        device: auto takes a GPU where there is one.
        log_every: steps between rows of metrics.csv.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints of the training state; at most this many are repeated after a kill.
    """

    max_steps: int = 10_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    beta2: float = 0.99
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    weight_average: float = 0.999
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    devices: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "devices", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        for name, most in (("weight_average", 1), ("beta2", 1), ("gradient_clip", float("inf")), ("seed", 2**63)):
            if not 0 <= getattr(self, name) < most:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be from 0 to below {most}")
        if not self.learning_rate > 0:
            raise ValueError(f"training.learning_rate is {self.learning_rate}; it must be above 0")
        if self.batch_size % self.devices:
            raise ValueError(
                f"training.batch_size {self.batch_size} is no multiple of devices, {self.devices}; make it one"
            )

    def resolve_device(self) -> torch.device:
        """Raises ValueError where cuda is asked for and there is none."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("training.device is cuda and this machine has none; use --training.device cpu")
        device = torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")
        if device.type == "cuda" and self.devices > torch.cuda.device_count():
            raise ValueError(
                f"training.devices is {self.devices}, this machine has {torch.cuda.device_count()} GPUs; ask for fewer"
            )
        return device

    def resolve_precision(self) -> torch.dtype:
        """bfloat16 for the nets, or float32; the quantizers are float32 always."""
        if self.precision == "auto":
            fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
            if self.resolve_device().type == "cpu":
                fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
            return torch.bfloat16 if fast else torch.float32
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

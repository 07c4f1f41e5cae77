"""A stage of training: exact resuming, the same result on two processes, and what stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import (
    Bottleneck,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    GaussianBottleneck,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    VectorQuantizer,
)
from vqkit.data import Dataset, Readable, open_source, shuffled
from vqkit.likelihoods import DiscretizedDensity, Gaussian, LearnedScale, Scored
from vqkit.modality import Image
from vqkit.priors import TransformerPrior
from vqkit.signal import Layout
from vqkit.tokens import Tokens
from vqkit.training import PriorObjective, TokenizerObjective, Training
from vqkit.training.fit import fit
from vqkit.training.metrics import read_rows
from vqkit.training.stage import Stage

STEPS = 12
Kind = Callable[[int, int], Bottleneck]


def data() -> Dataset:
    return Dataset(open_source("digits").split("validation"), Image())


def model(signal: Any, kind: Kind = EMAVectorQuantizer) -> Autoencoder:
    torch.manual_seed(0)
    likelihood = Scored(Gaussian(), DiscretizedDensity(Gaussian(LearnedScale())))  # as in most recipes
    made = Convolutional(kind(4, 16), likelihood, width=8, halvings=1, residual_layers=1, residual_width=4)(signal)
    made.initialise(lambda: shuffled(data(), 32, 0))
    return made


def train(
    folder: Path, kind: Kind = EMAVectorQuantizer, samples: Readable[Any] | None = None, **settings: Any
) -> dict[str, Tensor]:
    trained = model(data().signal, kind)
    chosen = {"max_steps": STEPS, "batch_size": 16, "log_every": 2, "validate_every": 6, "checkpoint_every": 4}
    fixed = Training(**{**chosen, "precision": "float32", "device": "cpu", **settings})
    fit("tokenizer", TokenizerObjective(trained), fixed, folder, samples or data(), data(), bar=False)
    return trained.state_dict()


class BreaksAtTen:
    """A source that fails as the tenth batch is read."""

    def __init__(self, source: Readable[Any] | None = None) -> None:
        self.data, self.reads = source or data(), 0

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: Sequence[int]) -> Any:
        self.reads += 1
        if self.reads == 10:
            raise RuntimeError("the power went")
        return self.data.read(rows)


class RandomTokens:
    """256 samples of 2 x 2 cells of two codebooks."""

    def __len__(self) -> int:
        return 256

    def read(self, rows: Sequence[int]) -> Tokens:
        symbols = torch.randint(8, (256, 2, 2, 2), generator=torch.Generator().manual_seed(0))
        return Tokens((symbols[list(rows)],), {}, [str(row) for row in rows])


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def residual(dim: int, codebook_size: int) -> Bottleneck:
    return SharedResidualQuantizer(EMAVectorQuantizer(dim, codebook_size), depth=3, dropout=0.5)


def cosine(dim: int, codebook_size: int) -> Bottleneck:
    return CosineSimilarityQuantizer(IndexBackpropagationQuantizer(dim, codebook_size))


def warming_up(dim: int, codebook_size: int) -> Bottleneck:
    return GaussianBottleneck(dim, warmup_updates=10)


KINDS = [
    EMAVectorQuantizer,
    VectorQuantizer,
    SimVectorQuantizer,
    GumbelSoftmaxQuantizer,
    GumbelMaxQuantizer,
    ImplicitMLEQuantizer,
    residual,
    cosine,
    warming_up,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path: Path, kind: Kind) -> None:
    whole = train(tmp_path / "whole", kind)

    with pytest.raises(RuntimeError, match="the power went"):
        train(tmp_path / "stopped", kind, BreaksAtTen())
    resumed = train(tmp_path / "stopped", kind)
    assert equal(whole, resumed)
    logs = [read_rows(tmp_path / name / "metrics-tokenizer.csv") for name in ("whole", "stopped")]
    assert [row["step"] for row in logs[1]] == [row["step"] for row in logs[0]] == [2, 4, 6, 8, 10, 12]
    assert [row["loss"] for row in logs[1]] == [row["loss"] for row in logs[0]]


def test_a_prior_that_anneals_its_order_ends_with_the_same_weights(tmp_path: Path) -> None:
    """A random share of 1 where it stops, and of 0 at the end; dropout and the orders are drawn from one generator."""
    settings = Training(max_steps=STEPS, batch_size=16, checkpoint_every=4, precision="float32", device="cpu")

    def trained(folder: Path, tokens: Readable[Tokens]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        prior = TransformerPrior(Layout(((2, 2),), ((8, 8),)), 16, 1, 2, random_order_updates=STEPS - 2, dropout=0.1)
        fit("prior", PriorObjective(prior), settings, folder, tokens, RandomTokens(), bar=False)
        return prior.state_dict()

    whole = trained(tmp_path / "whole", RandomTokens())
    assert int(whole["order.done"]) == STEPS
    with pytest.raises(RuntimeError, match="the power went"):
        trained(tmp_path / "stopped", BreaksAtTen(RandomTokens()))
    assert equal(whole, trained(tmp_path / "stopped", RandomTokens()))


def test_training_lowers_the_loss_and_keeps_the_averaged_weights(tmp_path: Path) -> None:
    averaged = train(tmp_path / "averaged", max_steps=60, learning_rate=3e-3, warmup_steps=1)
    last = train(tmp_path / "last", max_steps=60, learning_rate=3e-3, warmup_steps=1, weight_average=0.0)
    assert not equal(averaged, last)
    rows = read_rows(tmp_path / "averaged" / "metrics-tokenizer.csv")
    assert rows[-1]["decoder_loss"] < 0.8 * rows[0]["decoder_loss"]
    assert rows[-1]["validation_mse"] < rows[2]["validation_mse"]
    assert {"perplexity", "usage", "latent_loss", "learning_rate", "samples_per_second"} <= set(rows[-1])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    one, two, other = train(tmp_path / "1"), train(tmp_path / "2"), train(tmp_path / "3", seed=1)
    assert equal(one, two) and not equal(one, other)


def test_weight_decay_shrinks_kernels_and_neither_codes_nor_biases_nor_embeddings() -> None:
    prior = TransformerPrior(Layout(((2, 2),), ((16,),)), width=16, depth=1, heads=2)
    objectives = [
        TokenizerObjective(model(data().signal, SimVectorQuantizer)),
        TokenizerObjective(model(data().signal, VectorQuantizer)),
        PriorObjective(prior),
    ]
    for objective in objectives:
        stage = Stage(objective, Training(max_steps=1, weight_decay=0.5), data(), data())
        groups = stage.configure_optimizers()["optimizer"].param_groups
        decayed = {id(p) for group in groups if group["weight_decay"] == 0.5 for p in group["params"]}
        left = {id(p) for group in groups if group["weight_decay"] == 0.0 for p in group["params"]}
        assert len(decayed) + len(left) == sum(p.requires_grad for p in objective.parameters())
        kernels = ("Linear", "Conv2d", "ConvTranspose2d", "UpsamplingConv")
        for module in objective.modules():
            for name, parameter in module.named_parameters(recurse=False):
                kernel = name == "weight" and type(module).__name__ in kernels
                assert (id(parameter) in decayed) == kernel, (type(module), name)


def test_two_processes_end_where_one_does_with_one_codebook(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone")
    together = train(tmp_path / "together", devices=2)
    for name, tensor in alone.items():
        assert torch.allclose(tensor.float(), together[name].float(), atol=2e-4), name


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(loss.* became (nan|inf)|z_e is not finite) at step \d+ .*learning_rate"):
        train(tmp_path, learning_rate=1e18, gradient_clip=0.0, warmup_steps=0)


def test_bfloat16_trains_and_keeps_the_codebook_in_float32(tmp_path: Path) -> None:
    state = train(tmp_path, precision="bfloat16")
    assert all(t.dtype in (torch.float32, torch.int64) for t in state.values())
    rows = read_rows(tmp_path / "metrics-tokenizer.csv")
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch_size": 7, "devices": 2}, "batch_size"),
        ({"log_every": 0}, "log_every"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Training(**settings)

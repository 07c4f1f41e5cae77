"""A constructor is its config, for every public part of a model."""

from __future__ import annotations

import inspect
import json
import math
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from vqkit import autoencoders, bottlenecks, likelihoods, priors
from vqkit import nn as vqkit_nn
from vqkit.autoencoders import (
    Autoencoder,
    AutoregressiveDecoder,
    ClassConditionalDecoder,
    Convolutional,
    DirectLevel,
    FeedForwardDecoder,
    LosslessPrior,
    ProjectedLevel,
    ResidualLevel,
)
from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GaussianBottleneck,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    Identity,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    ResidualFiniteScalarQuantizer,
    ResidualQuantizer,
    RotationTrick,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThrough,
    StraightThroughGumbelQuantizer,
    UniformScalarQuantizer,
    VectorQuantizer,
)
from vqkit.checkpoint import build, config_of
from vqkit.likelihoods import (
    L1,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedDensity,
    Gaussian,
    Laplace,
    LearnedScale,
    LogisticMixture,
    MultiscaleSSIM,
    Scored,
)
from vqkit.nn import (
    AnalysisTransform,
    AreaPyramid,
    ConvDecoder,
    ConvEncoder,
    Flatten,
    LinearDecoder,
    Pyramid,
    ResidualStack,
    SynthesisTransform,
)
from vqkit.priors import (
    LearnedUnigramPrior,
    MaskedTransformerPrior,
    NextScalePrior,
    PixelCNN,
    Stack,
    SuccessiveRefinementPrior,
    TransformerPrior,
    UniformPrior,
    UnigramPrior,
    WaveNet,
)
from vqkit.signal import Layout, Signal

SIGNAL = Signal(2, (8, 12), -1.0, 3.0, None, ("a", "b"))
INTEGERS = Signal(1, (8, 12), 0.0, 255.0, 256)
LAYOUT = Layout(((2, 2), (4, 4)), ((5,), (9, 3)), 2)

PIXEL_BY_PIXEL = Convolutional(
    EMAVectorQuantizer(3, 7), Gaussian(0.2), 4, 1, value_prior=partial(PixelCNN, width=4, depth=1, context_channels=4)
)(INTEGERS)

EXAMPLES: dict[type[nn.Module], dict[str, Any]] = {  # no argument at its default, so that a forgotten one shows
    ConvEncoder: {
        "channels": 2, "width": 6, "halvings": 1, "residual_layers": 3, "residual_width": 5, "dims": 3,
    },
    AnalysisTransform: {"channels": 2, "dim": 3, "halvings": 1, "dims": 1},
    SynthesisTransform: {
        "dim": 3, "channels": 2, "width": 6, "halvings": 1, "residual_layers": 1, "residual_width": 3, "dims": 1,
    },
    ConvDecoder: {
        "dim": 3, "outputs": 2, "width": 6, "doublings": 1, "residual_layers": 3, "residual_width": 5, "dims": 1,
    },
    ResidualStack: {"channels": 3, "hidden": 2, "layers": 1, "dims": 1},
    Flatten: {},
    LinearDecoder: {"dim": 3, "outputs": 2, "grid": (4, 5)},
    Pyramid: {"stages": [ConvEncoder(2, 6), ConvEncoder(6, 4)]},
    AreaPyramid: {"net": ConvEncoder(2, 6), "features": 6, "outputs": 3, "grids": ((1, 1), (2, 3))},
    Identity: {"dim": 3},
    VectorQuantizer: {
        "dim": 3, "codebook_size": 7, "commitment_weight": 0.5, "codebook_weight": 2.0, "decay": 0.9, "revival": 0.2,
        "estimator": RotationTrick(),
    },
    EMAVectorQuantizer: {
        "dim": 3, "codebook_size": 7, "commitment_weight": 0.5, "decay": 0.9, "revival": 0.2,
        "estimator": RotationTrick(),
    },
    FiniteScalarQuantizer: {"levels": (3, 5, 4), "groups": (2, 1)},
    ResidualFiniteScalarQuantizer: {"levels": (3, 5, 4), "depth": 2},
    LookupFreeQuantizer: {
        "dim": 3, "groups": (2, 1), "entropy_weight": 0.2, "commitment_weight": 0.5, "temperature": 0.3,
    },
    BinarySphericalQuantizer: {"dim": 3, "groups": (2, 1), "entropy_weight": 0.2, "temperature": 0.3},
    UniformScalarQuantizer: {
        "dim": 3, "step": 0.5, "levels": 7, "dead_zone": 2.0, "commitment_weight": 0.5, "stages": 2, "dropout": 0.5,
    },
    GaussianBottleneck: {"dim": 3, "beta": 0.5, "free_bits": 0.1, "warmup_updates": 7},
    CosineSimilarityQuantizer: {"quantizer": EMAVectorQuantizer(3, 7)},
    ProjectedQuantizer: {"quantizer": EMAVectorQuantizer(3, 7), "dim": 5},
    ProductQuantizer: {"quantizers": [EMAVectorQuantizer(3, 7), VectorQuantizer(2, 5)]},
    ResidualQuantizer: {
        "quantizer": VectorQuantizer(3, 7), "depth": 2, "dropout": 0.3,
        "estimator": RotationTrick(),
    },
    SharedResidualQuantizer: {
        "quantizer": VectorQuantizer(3, 7), "depth": 2, "dropout": 0.3,
        "estimator": RotationTrick(),
    },
    SimVectorQuantizer: {
        "dim": 3, "codebook_size": 7, "commitment_weight": 0.5, "codebook_weight": 2.0, "estimator": RotationTrick(),
    },
    IndexBackpropagationQuantizer: {
        "dim": 3, "codebook_size": 7, "commitment_weight": 0.5, "codebook_weight": 2.0, "index_weight": 0.3,
        "entropy_weight": 0.2, "entropy_temperature": 0.1, "decay": 0.9, "revival": 0.2,
    },
    GumbelSoftmaxQuantizer: {
        "dim": 3, "codebook_size": 7, "initial_temperature": 2.0, "final_temperature": 0.3, "annealing_updates": 5,
        "kl_weight": 0.2, "decay": 0.9, "revival": 0.2,
    },
    StraightThroughGumbelQuantizer: {
        "dim": 3, "codebook_size": 7, "initial_temperature": 2.0, "final_temperature": 0.3, "annealing_updates": 5,
        "kl_weight": 0.2, "decay": 0.9, "revival": 0.2,
    },
    GumbelMaxQuantizer: {
        "dim": 3, "codebook_size": 7, "temperature": 0.3, "commitment_weight": 0.5, "codebook_weight": 2.0,
        "decay": 0.9, "revival": 0.2, "estimator": StraightThrough(),
    },
    ImplicitMLEQuantizer: {
        "dim": 3, "codebook_size": 7, "step": 2.0, "kl_weight": 0.2, "decay": 0.9, "revival": 0.2,
    },
    StraightThrough: {},
    RotationTrick: {},
    Bernoulli: {},
    Categorical: {},
    ContinuousBernoulli: {},
    DiscretizedDensity: {"density": Laplace(0.2)},
    Gaussian: {"scale": 0.2},
    L1: {"weight": 2.0},
    Laplace: {"scale": LearnedScale(2, 0.1)},
    LearnedScale: {"channels": 2, "initial": 0.1},
    LogisticMixture: {"components": 3},
    MultiscaleSSIM: {"scales": 2, "weight": 3.0},
    Scored: {"objective": L1(2.0), "likelihood": Laplace(0.2)},
    DirectLevel: {"bottleneck": Identity(3)},
    ProjectedLevel: {
        "features": 6, "bottleneck": EMAVectorQuantizer(3, 7), "dims": 1, "context": 2,
        "up": ConvDecoder(5, 2, 6, dims=1),
    },
    ResidualLevel: {"bottleneck": EMAVectorQuantizer(3, 7), "grid": (4, 6)},
    FeedForwardDecoder: {"signal": SIGNAL, "net": ConvDecoder(3, 2, 6), "likelihood": Gaussian(0.2)},
    AutoregressiveDecoder: {
        "signal": INTEGERS,
        "net": ConvDecoder(3, 4, 6),
        "prior": PixelCNN(Layout(((8, 12),), ((256,),)), 16, 2, context_channels=4),
        "mean": FeedForwardDecoder(INTEGERS, ConvDecoder(3, 1, 6), Gaussian(0.2)),
    },
    ClassConditionalDecoder: {
        "decoder": FeedForwardDecoder(SIGNAL, ConvDecoder(5, 2, 6), Gaussian(0.2)), "classes": 2, "dim": 3,
    },
    Autoencoder: {
        "signal": SIGNAL,
        "encoder": Pyramid([ConvEncoder(2, 6), ConvEncoder(6, 6)]),
        "levels": [ProjectedLevel(6, VectorQuantizer(3, 7)), ProjectedLevel(6, Identity(3))],
        "decoder": FeedForwardDecoder(SIGNAL, ConvDecoder(3, 2, 6), Gaussian(0.2)),
        "level_dropout": 0.1,
    },
    LosslessPrior: {"tokenizer": PIXEL_BY_PIXEL, "prior": UniformPrior(PIXEL_BY_PIXEL.layout())},
    NextScalePrior: {
        "layout": LAYOUT, "width": 16, "depth": 2, "heads": 2, "dropout": 0.2, "label_dropout": 0.3,
    },
    MaskedTransformerPrior: {
        "layout": LAYOUT, "width": 16, "depth": 2, "joint_depth": 3, "heads": 2, "steps": 3, "choice_temperature": 0.5,
        "context_channels": 3, "dropout": 0.2, "label_dropout": 0.3,
    },
    PixelCNN: {
        "layout": Layout(((3, 4),), ((5, 3),), 2), "width": 16, "depth": 2, "kernel_size": 5, "attention_every": 1,
        "heads": 2, "in_turn": False, "context_channels": 3, "dropout": 0.2, "label_dropout": 0.3,
    },
    Stack: {
        "layout": LAYOUT,
        "priors": [
            PixelCNN(Layout(LAYOUT.grids[:1], LAYOUT.codebook_sizes[:1], 2), 8, 1, context_channels=2),
            PixelCNN(Layout(LAYOUT.grids[1:], LAYOUT.codebook_sizes[1:], 2), 8, 1, context_channels=3),
        ],
        "width": 4, "residual_layers": 1, "context_channels": 3,
    },
    TransformerPrior: {
        "layout": LAYOUT, "width": 16, "depth": 2, "heads": 2, "codebook_layers": 1, "context_channels": 3,
        "random_order_updates": 5, "dropout": 0.2, "label_dropout": 0.3,
    },
    SuccessiveRefinementPrior: {
        "layout": Layout(((3, 4),), ((5, 5, 3, 3),), 2), "stages": 2, "width": 8, "depth": 2, "context_channels": 3,
        "dropout": 0.2, "label_dropout": 0.3,
    },
    LearnedUnigramPrior: {"layout": LAYOUT},
    UniformPrior: {"layout": LAYOUT},
    UnigramPrior: {"layout": LAYOUT, "smoothing": 0.5},
    WaveNet: {
        "layout": Layout(((3, 4),), ((5, 3),), 2), "width": 16, "depth": 3, "cycle": 2, "context_channels": 3,
        "dropout": 0.2, "label_dropout": 0.3,
    },
}  # fmt: skip


def public_parts(*packages: ModuleType) -> list[type[nn.Module]]:
    found = [value for package in packages for value in vars(package).values() if isinstance(value, type)]
    return sorted(
        (c for c in found if issubclass(c, nn.Module) and not inspect.isabstract(c)), key=lambda c: c.__name__
    )


PARTS = pytest.mark.parametrize("part", public_parts(vqkit_nn, bottlenecks, likelihoods, priors, autoencoders))


@PARTS
def test_every_public_part_has_an_example_of_every_argument(part: type[nn.Module]) -> None:
    assert part in EXAMPLES, f"give EXAMPLES the arguments of {part.__name__}"
    parameters = inspect.signature(part).parameters if part.__init__ is not nn.Module.__init__ else {}
    assert list(EXAMPLES[part]) == list(parameters)
    for name, value in EXAMPLES[part].items():
        assert value is not parameters[name].default and value != parameters[name].default, name


@PARTS
def test_every_constructor_argument_is_an_attribute_of_the_same_name(part: type[nn.Module]) -> None:
    model = part(**EXAMPLES[part])
    for name, value in EXAMPLES[part].items():
        kept = getattr(model, name)
        assert list(kept) == value if isinstance(value, list) else kept is value or kept == value, name


@pytest.mark.parametrize(
    ("part", "name"),
    [
        pytest.param(part, name, id=f"{part.__name__}-{name}")
        for part in public_parts(bottlenecks)
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.annotation == "float"
    ],
)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_not_finite_is_refused_by_name(part: type[nn.Module], name: str, number: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {number}; "):
        part(**EXAMPLES[part] | {name: number})


@pytest.mark.parametrize(
    ("part", "name"),
    [
        pytest.param(part, name, id=f"{part.__name__}-{name}")
        for part in public_parts(bottlenecks)
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.annotation == "int" and name != "warmup_updates"
    ],
)
@pytest.mark.parametrize("number", [0, -1, 2.5, 3.0, math.nan, "3", None])
def test_a_count_that_is_none_is_refused_by_name(part: type[nn.Module], name: str, number: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} (is|are) .*{number}.*; "):
        part(**EXAMPLES[part] | {name: number})


@pytest.mark.parametrize(
    "part",
    [ResidualQuantizer, SharedResidualQuantizer, ProjectedQuantizer, CosineSimilarityQuantizer, ProductQuantizer],
)
@pytest.mark.parametrize("wrong", [Identity(3), nn.Linear(3, 3), EMAVectorQuantizer, "EMAVectorQuantizer", None])
def test_what_is_no_quantizer_is_refused_by_name(part: type[nn.Module], wrong: object) -> None:
    name, value = (
        ("quantizers", [FiniteScalarQuantizer((3,)), wrong]) if part is ProductQuantizer else ("quantizer", wrong)
    )
    with pytest.raises(ValueError, match=rf"^{name}(\[1\])? is .*; (give|use)|without a codebook"):
        part(**EXAMPLES[part] | {name: value})


@PARTS
def test_a_part_is_built_again_from_its_configuration(part: type[nn.Module]) -> None:
    model = part(**EXAMPLES[part])
    config = json.loads(json.dumps(config_of(model)))  # through a file
    again = build(config)
    assert type(again) is part and config_of(again) == config_of(model)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    again.load_state_dict(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


@PARTS
def test_its_path_is_the_public_one(part: type[nn.Module]) -> None:
    assert config_of(part(**EXAMPLES[part]))["class_path"].count(".") == 2

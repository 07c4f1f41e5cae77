"""A decoder that is told the class: p(x | z, label), whatever the bottleneck."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqkit import checkpoint
from vqkit.autoencoders import (
    Autoencoder,
    ClassConditionalDecoder,
    Convolutional,
    FeedForwardDecoder,
    MultiscaleResidual,
)
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, GaussianBottleneck, Identity
from vqkit.likelihoods import Categorical, Gaussian
from vqkit.nn import ConvDecoder
from vqkit.signal import Batch, Signal

SIGNAL = Signal(1, (8, 8), 0.0, 255.0, 256, ("cat", "dog", "cow"))
X = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
SIDE = {"label": torch.tensor([2, 0, 1])}
EMA = partial(EMAVectorQuantizer, 4, 16)
ARCHITECTURES = pytest.mark.parametrize("architecture", [Convolutional, MultiscaleResidual])
EVERY = pytest.mark.parametrize(
    ("architecture", "make"),
    [
        *((Convolutional, make) for make in (partial(Identity, 4), partial(GaussianBottleneck, 4), EMA)),
        *((MultiscaleResidual, make) for make in (partial(Identity, 4), EMA)),
    ],
    ids=lambda value: value.func.__name__ if isinstance(value, partial) else value.__name__,
)


def model(
    bottleneck: Bottleneck,
    signal: Signal = SIGNAL,
    label_dim: int = 2,
    architecture: type[Convolutional | MultiscaleResidual] = Convolutional,
) -> Autoencoder:
    torch.manual_seed(0)
    return architecture(bottleneck, Categorical(), 8, 1, residual_layers=1, residual_width=4, label_dim=label_dim)(
        signal
    )


@pytest.mark.parametrize("grid", [(6,), (4, 5), (2, 3, 4)])
def test_the_decoder_gets_an_embedding_of_the_label_beside_z_at_every_position(grid: tuple[int, ...]) -> None:
    signal = Signal(1, grid, -1.0, 1.0, None, SIGNAL.labels)
    inner = FeedForwardDecoder(signal, ConvDecoder(6, 1, 8, 0, dims=len(grid)), Gaussian())
    decoder, z, x = ClassConditionalDecoder(inner, 3, 2), torch.randn(3, 4, *grid), torch.rand(3, 1, *grid)
    told = torch.zeros(3, 6, *grid)
    told[:, :4] = z
    for sample, label in enumerate(SIDE["label"].tolist()):
        for channel in range(2):
            told[sample, 4 + channel] = decoder.embedding.weight[label, channel].item()
    mask = torch.rand(3, *grid) > 0.5
    torch.testing.assert_close(decoder.loss(x, z, SIDE, mask), inner.loss(x, told, {}, mask))
    torch.testing.assert_close(decoder.nll(x, z, SIDE, mask), inner.nll(x, told, {}, mask))
    torch.testing.assert_close(decoder.reconstruct(z, SIDE), inner.reconstruct(told, {}))
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    torch.testing.assert_close(decoder.sample(z, SIDE, draws[0]), inner.sample(told, {}, draws[1]))


@EVERY
def test_every_autoencoder_learns_from_labels_and_decodes_by_them(
    architecture: type[Convolutional | MultiscaleResidual], make: partial[Bottleneck], tmp_path: Path
) -> None:
    tokenizer = model(make(), architecture=architecture)
    tokenizer(Batch(X, None, SIDE, list("abc"))).loss.backward()
    assert isinstance(tokenizer.decoder, ClassConditionalDecoder)
    assert bool((tokenizer.decoder.embedding.weight.grad != 0).any(1).all())
    x_hat, other = (tokenizer.reconstruct(X, {"label": label}) for label in (SIDE["label"], SIDE["label"].roll(1)))
    assert not torch.equal(x_hat, other)
    checkpoint.save(tokenizer, tmp_path / "model")
    assert torch.equal(checkpoint.load(tmp_path / "model", Autoencoder).reconstruct(X, SIDE), x_hat)
    if tokenizer.discrete:
        assert torch.equal(tokenizer.decode(tokenizer.encode(X), SIDE), x_hat)


def test_the_decoder_is_given_the_layout_of_memory_that_it_wants() -> None:
    seen: list[Tensor] = []
    tokenizer = model(Identity(4)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tokenizer.decoder.decoder.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr]
    tokenizer.reconstruct(X.contiguous(memory_format=torch.channels_last), SIDE)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("side", "sentence"),
    [
        ({}, "conditional on a label; give side=.*data whose samples have labels"),
        ({"label": torch.tensor([0, 1, 3])}, "beyond the 3 classes"),
        ({"label": torch.tensor([0, 1])}, r"int64 labels of \[3\]"),
    ],
)
def test_a_sample_without_its_label_is_refused(side: dict[str, Tensor], sentence: str) -> None:
    tokenizer = model(EMAVectorQuantizer(4, 16))
    uses = [
        lambda: tokenizer(Batch(X, None, side, list("abc"))),
        lambda: tokenizer.reconstruct(X, side),
        lambda: tokenizer.decode(tokenizer.encode(X), side),
        lambda: tokenizer.nll(X, torch.zeros(3, 4, 4, 4), side),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=sentence):
            use()


@ARCHITECTURES
def test_data_without_labels_and_bad_arguments_are_refused(
    architecture: type[Convolutional | MultiscaleResidual],
) -> None:
    with pytest.raises(ValueError, match="the data has no labels for the decoder"):
        model(Identity(4), SIGNAL._replace(labels=()), architecture=architecture)
    with pytest.raises(ValueError, match="label_dim is -1"):
        model(Identity(4), label_dim=-1, architecture=architecture)
    with pytest.raises(ValueError, match="the label has 0 channels"):
        ClassConditionalDecoder(model(Identity(4)).decoder, 3, 0)

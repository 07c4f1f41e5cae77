"""The one autoencoder: its objective by hand, and that encoding, decoding, freezing and starting do what they say."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.autoencoders.autoencoder import shrink
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, Identity, VectorQuantizer
from vqkit.likelihoods import Categorical, Gaussian, Likelihood
from vqkit.signal import Batch, Signal

SIGNALS = {
    "1d floats": Signal(2, (16,), -3.0, 5.0, None),
    "2d bytes": Signal(3, (8, 12), 0.0, 255.0, 256, ("cat", "dog")),
    "3d bytes": Signal(1, (4, 8, 8), 0.0, 255.0, 256),
}
PICTURES = SIGNALS["2d bytes"]
DIM, SIZE = 4, 16


def autoencoder(
    signal: Signal = PICTURES, bottleneck: Bottleneck | None = None, likelihood: Likelihood | None = None
) -> Autoencoder:
    make = Convolutional(
        bottleneck or EMAVectorQuantizer(DIM, SIZE), likelihood or Gaussian(), width=8, halvings=2,
        residual_layers=1, residual_width=4,
    )  # fmt: skip
    model = make(signal)
    model.initialise(lambda: [batch(signal)])
    return model


def batch(signal: Signal = PICTURES, count: int = 3, seed: int = 0, masked: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = signal.low + (signal.high - signal.low) * torch.rand(count, signal.channels, *signal.grid, generator=generator)
    mask = None
    if masked:
        mask = torch.ones(count, *signal.grid, dtype=torch.bool)
        mask[0, signal.grid[0] // 2 :] = False
    return Batch(signal.to_native(x), mask, {}, [str(i) for i in range(count)])


def step(model: Autoencoder, seed: int = 0) -> None:
    model(batch(model.signal, seed=seed)).loss.backward()
    model.update()


@pytest.fixture(params=SIGNALS)
def signal(request: pytest.FixtureRequest) -> Signal:
    return SIGNALS[request.param]


# ---------------------------------------------------------------- the objective


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_per_data_dimension(signal: Signal, masked: bool) -> None:
    quantizer = VectorQuantizer(DIM, SIZE, commitment_weight=0.3, codebook_weight=0.7)
    model, given = autoencoder(signal, quantizer, Gaussian(0.2)), batch(signal, masked=masked)
    output = model(given)
    assert torch.equal(output.loss, output.decoder_loss + output.latent_loss)

    (features,) = model.encoder(signal.normalise(given.x))
    z_e = model.levels[0].project(features)
    z = output.latents[0].z
    mask, small = (torch.ones(3, *grid) for grid in (signal.grid, z.shape[2:]))
    if masked:
        mask[0, signal.grid[0] // 2 :] = 0
        small[0, z.shape[2] // 2 :] = 0
    latent = ((z_e - z).square() * small[:, None]).sum() / (small.sum() * DIM)
    scale = DIM * math.prod(z.shape[2:]) / (signal.channels * math.prod(signal.grid))
    torch.testing.assert_close(output.latent_loss, (0.3 + 0.7) * latent * scale)
    error = (signal.normalise(given.x) - model.decoder.net(z)).square() / (2 * 0.2**2)
    decoder = (error * mask[:, None]).sum() / (mask.sum() * signal.channels)
    torch.testing.assert_close(output.decoder_loss, decoder)


def gradient_of_z_e(model: Autoencoder, part: str) -> tuple[Tensor, Tensor]:
    """z_e, and the gradient that reaches it from one field of the `Output`."""
    found: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], z_e: Tensor) -> None:
        z_e.retain_grad()
        found.append(z_e)

    handle = model.levels[0].project.register_forward_hook(keep)
    getattr(model(batch()), part).backward()
    handle.remove()
    return found[0].detach(), found[0].grad


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_the_commitment_weight_is_applied_once(weight: float) -> None:
    model = autoencoder(bottleneck=EMAVectorQuantizer(DIM, SIZE, weight))
    z_e, from_loss = gradient_of_z_e(model, "loss")
    _, from_decoder = gradient_of_z_e(model, "decoder_loss")
    z = model.latents(batch().x)[0].z
    wanted = (
        2 * weight * (z_e - z) / 3 / PICTURES.dims
    )  # the mean over 3 samples, a sum over the rest / data dimensions
    torch.testing.assert_close(from_loss - from_decoder, wanted, atol=1e-7, rtol=1e-3)
    torch.testing.assert_close(gradient_of_z_e(model, "latent_loss")[1], wanted)


def test_the_decoders_gradient_does_not_reach_the_codebook() -> None:
    model = autoencoder(bottleneck=VectorQuantizer(DIM, SIZE))
    model(batch()).decoder_loss.backward()
    assert model.bottlenecks[0].codebook.vectors.grad is None
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_padding_counts_nowhere() -> None:
    model, given = autoencoder(), batch(masked=True)
    junk = given.x.clone()
    junk[0, :, 6:] = 0  # beyond the first convolutions' reach of what is real, and of the positions that count
    assert not torch.equal(junk, given.x)
    far = model.decoder.loss(junk, torch.zeros(3, DIM, 2, 3), {}, given.mask)
    assert torch.equal(model.decoder.loss(given.x, torch.zeros(3, DIM, 2, 3), {}, given.mask), far)
    assert model(given).latents[0].kl.tolist() == pytest.approx([3 * math.log(SIZE)] + 2 * [6 * math.log(SIZE)])


def test_a_position_counts_where_anything_under_it_is_real() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 3, 4] = True
    assert shrink(mask, torch.zeros(1, 5, 2, 2)).tolist() == [[[False, True], [False, False]]]
    assert shrink(None, torch.zeros(1, 5, 2, 2)) is None


# ---------------------------------------------------------------- encoding and decoding


def test_encode_decode_and_reconstruct_agree(signal: Signal) -> None:
    model, x = autoencoder(signal), batch(signal).x
    for seed in range(3):
        step(model, seed)
    (indices,) = model.encode(x)
    assert indices.dtype == torch.int64 and indices.shape == (3, 1, *(n // 4 for n in signal.grid))
    x_hat = model.decode((indices,))
    assert x_hat.shape == x.shape and x_hat.dtype == torch.float32
    assert torch.equal(x_hat, model.reconstruct(x))
    assert float(x_hat.min()) >= signal.low and float(x_hat.max()) <= signal.high
    assert torch.equal(model.latents(x)[0].indices, indices)
    assert model.decoder.sample(model.latents(x)[0].z, {}).dtype == x.dtype


def test_integers_and_floats_of_the_same_values_are_encoded_alike() -> None:
    model, x = autoencoder(), batch().x
    assert torch.equal(model.encode(x)[0], model.encode(x.float())[0])


def test_encoding_is_in_float32_even_inside_autocast() -> None:
    model, x = autoencoder(), batch().x
    indices, x_hat = model.encode(x)[0], model.reconstruct(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.encode(x)[0], indices)
        assert torch.equal(model.reconstruct(x), x_hat) and torch.equal(model.decode((indices,)), x_hat)
        assert model.latents(x)[0].z.dtype == torch.float32


@pytest.mark.parametrize("training", [True, False])
def test_encoding_leaves_the_mode_and_the_statistics_alone(training: bool) -> None:
    model = autoencoder().train(training)
    before = copy.deepcopy(model.state_dict())
    for use in (model.encode, model.reconstruct, model.latents):
        use(batch().x)
    model.update()
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_is_put_back_after_an_error() -> None:
    model = autoencoder().train()
    with pytest.raises(RuntimeError):
        model.encode(torch.zeros(1, 7, 8, 12))
    assert model.training


def test_without_a_quantizer_there_are_no_tokens() -> None:
    model, x = autoencoder(bottleneck=Identity(DIM)), batch().x
    for use in (lambda: model.encode(x), lambda: model.decode((torch.zeros(1, 1, 2, 3).long(),)), model.layout):
        with pytest.raises(ValueError, match="Identity has no indices; use a quantizer such as EMAVectorQuantizer"):
            use()
    assert model.reconstruct(x).shape == x.shape
    assert model(batch()).latent_loss.item() == 0


def test_the_layout_is_that_of_the_indices(signal: Signal) -> None:
    model = autoencoder(signal)
    layout, (indices,) = model.layout(), model.encode(batch(signal).x)
    assert layout.grids == (tuple(indices.shape[2:]),) and layout.codebook_sizes == ((SIZE,),)
    assert layout.classes == len(signal.labels)
    assert layout.tokens == (indices[0].numel(),)
    assert layout.nominal_bits == 4 * indices[0].numel()


def test_a_grid_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a grid of 8x10 cannot be halved 2 times; set modality\.size"):
        autoencoder(PICTURES._replace(grid=(8, 10)))


def test_a_categorical_decoder_sizes_itself() -> None:
    model = autoencoder(likelihood=Categorical())
    nll = model.decoder.nll(batch().x, model.latents(batch().x)[0].z, {})
    assert nll.shape == (3,) and bool((nll > 0).all())
    masked = model.decoder.nll(batch().x, model.latents(batch().x)[0].z, {}, batch(masked=True).mask)
    assert masked[0] < nll[0] and torch.equal(masked[1:], nll[1:])


# ---------------------------------------------------------------- freezing


@pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
def test_frozen_is_frozen(kind: type[VectorQuantizer] | type[EMAVectorQuantizer]) -> None:
    model = autoencoder(bottleneck=kind(DIM, SIZE))
    step(model)
    model(batch(seed=1))  # seen and not yet collected
    assert model.freeze() is model
    before = copy.deepcopy(model.state_dict())
    whole = nn.ModuleDict({"tokenizer": model, "prior": nn.Linear(2, 2)})
    for seed in range(3):
        whole.train()  # what trainers do
        assert not any(module.training for module in model.modules()) and whole["prior"].training
        output = model(batch(seed=seed))
        assert not output.loss.requires_grad
        model.encode(batch(seed=seed).x)
        model.update()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# ---------------------------------------------------------------- the start


def test_initialise_gives_every_code_something_to_win() -> None:
    model = autoencoder()
    batches = [batch(count=8, seed=seed) for seed in range(24)]

    def stream() -> Iterator[Batch]:
        yield from batches

    model.train().initialise(stream)
    assert model.training
    won = torch.cat([model.encode(each.x)[0].flatten() for each in batches])
    assert len(won.unique()) == SIZE


def test_initialise_sees_z_e_without_padding() -> None:
    seen: list[Tensor] = []

    class Recorder(Identity):
        def initialise(self, vectors: Iterator[Tensor]) -> None:  # type: ignore[override]
            seen.extend(vectors)

    model, given = autoencoder(bottleneck=Recorder(DIM)), batch(masked=True)
    seen.clear()
    model.initialise(lambda: [given, batch(seed=1)])
    z_e = model.latents(given.x)[0].z.movedim(1, -1)
    wanted = torch.cat([z_e[0, :1].reshape(-1, DIM), z_e[1:].reshape(-1, DIM)])
    torch.testing.assert_close(seen[0], wanted)
    assert seen[1].shape == (3 * 6, DIM)


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        autoencoder().initialise(list)


def test_training_lowers_the_loss_and_uses_the_codebook() -> None:
    model, given = autoencoder(), batch(count=4)
    given = given._replace(x=given.x[..., :1, :1].expand_as(given.x))  # four plain colours
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    optimizer.register_step_post_hook(lambda *_: model.update())
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(given).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert int(model.bottlenecks[0].codebook.updates) == 60

"""What the figures show, computed: small runs on the digits of scikit-learn, and toys in one and two dimensions.

All is seeded and takes seconds on one core.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, Quantizer, VectorQuantizer, nearest_code
from vqkit.priors import Prior, TransformerPrior, UniformPrior, UnigramPrior
from vqkit.signal import Layout

# ---------------------------------------------------------------- the small run


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Train and held-out pictures, [1500, 1, 8, 8] and [297, 1, 8, 8], from 0 to 1."""
    x = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return x[:1500], x[1500:]


class Run(NamedTuple):
    """A trained tokenizer of digits, and what was measured every `every` steps on the held-out ones: `history` has
    lists of `step`, `mse`, `length` (mean |z_e|), `distance` (mean |z_e - z_q|) and `usage` (share of codes)."""

    encoder: nn.Module
    quantizer: Bottleneck
    decoder: nn.Module
    history: dict[str, list[float]]


def train(quantizer: Quantizer, steps: int = 400, initialise: bool = True, learn: bool = True, every: int = 20) -> Run:
    """Convolutions to a 4x4 grid and back, Adam, batches of 32. `learn` False cuts the reconstruction's gradient at z,
    as an argmin without an estimator does."""
    torch.manual_seed(0)
    x, held_out = digits()
    dim, width = quantizer.dim, 16
    encoder = nn.Sequential(nn.Conv2d(1, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, quantizer.inputs, 3, 1, 1))
    decoder = nn.Sequential(nn.Conv2d(dim, width, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1))
    if initialise:
        quantizer.initialise([encoder(x[:500]).detach().movedim(1, -1).reshape(-1, dim)])
    parameters = [*encoder.parameters(), *quantizer.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    history: dict[str, list[float]] = {name: [] for name in ("step", "mse", "length", "distance", "usage")}
    for step in range(steps + 1):
        if step % every == 0:
            for name, value in measure(encoder, quantizer, decoder, held_out).items():
                history[name].append(value)
            history["step"].append(step)
        batch = x[torch.randint(len(x), (32,))]
        latent = quantizer(encoder(batch))
        z = latent.z if learn else latent.z.detach()
        loss = (decoder(z) - batch).square().mean() + latent.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantizer.update()
    return Run(encoder, quantizer, decoder, history)


@torch.no_grad()
def measure(encoder: nn.Module, quantizer: Quantizer, decoder: nn.Module, x: Tensor) -> dict[str, float]:
    """What `history` holds, of x."""
    quantizer.eval()
    z_e = encoder(x)
    latent = quantizer(z_e)
    quantizer.train()
    assert latent.indices is not None
    return {
        "mse": float((decoder(latent.z) - x).square().mean()),
        "length": float(z_e.norm(dim=1).mean()),
        "distance": float((z_e - latent.z).norm(dim=1).mean()),
        "usage": len(latent.indices.unique()) / quantizer.codebook_sizes[0],
    }


# ---------------------------------------------------------------- gradients.md

CODES_1D = torch.tensor([-1.5, -0.4, 0.5, 1.6])
CODES_2D = torch.tensor([[-1.3, 0.9], [0.35, 1.35], [1.45, 0.1], [-0.9, -1.0], [0.75, -1.2]])
TARGET_1D, TARGET_2D = 0.8, torch.tensor([0.6, 0.3])


def estimated_gradient(estimator: nn.Module, points: Tensor) -> Tensor:
    """Of |z_q - target|^2, for z_e at `points` [n, 2]."""
    z_e = points.clone().requires_grad_()
    z_q = estimator(z_e, CODES_2D[nearest_code(points, CODES_2D)])
    (gradient,) = torch.autograd.grad((z_q - TARGET_2D).square().sum(), z_e)
    return gradient


# ---------------------------------------------------------------- k_means.md


def clusters() -> Tensor:
    """[600, 2]: six clouds of different sizes."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[-1.2, 0.9], [0.3, 1.4], [1.5, 0.5], [0.9, -1.1], [-0.5, -0.9], [-1.6, -0.6]])
    spreads = torch.tensor([0.35, 0.2, 0.3, 0.35, 0.2, 0.25])
    which = torch.randint(6, (600,), generator=generator)
    return centres[which] + spreads[which, None] * torch.randn(600, 2, generator=generator)


def follow(quantizer: VectorQuantizer | EMAVectorQuantizer, batch: int, steps: int = 400) -> Tensor:
    """The codes [steps + 1, K, D] while they learn from batches of `clusters`; a codebook loss by SGD of rate 1."""
    x, generator = clusters(), torch.Generator().manual_seed(1)
    parameters = list(quantizer.parameters())
    path = [quantizer.codebook.vectors.detach().clone()]
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        latent = quantizer(x[rows].t()[None])
        if parameters:
            (gradient,) = torch.autograd.grad(latent.loss, parameters)
            parameters[0].data -= gradient
        quantizer.update()
        path.append(quantizer.codebook.vectors.detach().clone())
    return torch.stack(path)


def gap_to_means(codes: Tensor) -> float:
    """How far codes [K, 2] are from the mean of what they win, root mean square over the codes that win any."""
    x = clusters()
    indices = nearest_code(x, codes)
    gaps = [(codes[k] - x[indices == k].mean(0)).square().sum() for k in indices.unique()]
    return float(torch.stack(gaps).mean().sqrt())


# ---------------------------------------------------------------- rate.md


def kl_to_uniform(q: Tensor) -> float:
    """Mean nats of rows [n, K]."""
    return math.log(q.shape[1]) - float(torch.special.entr(q).sum(1).mean())


def priors(run: Run, steps: int = 200) -> tuple[dict[int, float], float, float]:
    """Nats a held-out picture: of a transformer by training step, of the unigram, and of the uniform prior."""
    with torch.no_grad():
        run.quantizer.eval()
        tokens = [run.quantizer(run.encoder(x)).indices for x in digits()]
        run.quantizer.train()
    train_set, held_out = tokens
    assert train_set is not None
    assert held_out is not None
    layout = Layout((tuple(held_out.shape[2:]),), ((64,),))
    unigram, prior = UnigramPrior(layout), TransformerPrior(layout, 48, 2, 2, dropout=0.1)
    unigram.fit([((train_set,), {})])
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    learned = {}
    for step in range(steps + 1):
        if step % 20 == 0:
            prior.eval()
            learned[step] = nats_a_picture(prior, held_out)
            prior.train()
        loss = prior.loss((train_set[torch.randint(len(train_set), (64,))],), {})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return learned, nats_a_picture(unigram, held_out), nats_a_picture(UniformPrior(layout), held_out)


@torch.no_grad()
def nats_a_picture(prior: Prior, indices: Tensor) -> float:
    """-log p of indices [B, Q, *grid], their mean over B."""
    return -float(prior.log_prob((indices,), {})[0].sum()) / len(indices)


# ---------------------------------------------------------------- collapse.md

CODES = 256


def long_codes(decay: float = 0.99, revival: float = 0.3) -> VectorQuantizer:
    """With codes that are ten times too long, the same on every call."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, CODES, decay=decay, revival=revival)
    quantizer.codebook.vectors.data *= 10
    return quantizer


@cache
def usage_history(quantizer: Quantizer, initialise: bool) -> dict[str, list[float]]:
    """Of a run of 240 steps; a run that two panels show is made once."""
    return train(quantizer, 240, initialise).history

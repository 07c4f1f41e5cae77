"""New data: tokens from a prior, or z from the bottlenecks' own, decoded batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from vqkit.autoencoders import Autoencoder
from vqkit.priors import AS_LEARNED, Choice, MaskedTransformerPrior, Prior, sample
from vqkit.progress import Progress
from vqkit.signal import Indices, Side

FEWEST, MOST, _TOKENS = 16, 256, 1 << 16  # samples drawn and decoded at a time, and about as many tokens


def labels_of(tokenizer: Autoencoder, prior: Prior | None, n: int, label: int | str | None) -> Tensor | None:
    """The labels [n] that samples are drawn for: `label`, a class by name or number, or the classes in turn; None where
    neither prior nor decoder is told any. Raises ValueError where there is no such class, or none at all."""
    told = tokenizer.decoder.classes or (prior is not None and prior.knows_classes)
    names = tokenizer.signal.labels if told else ()
    if n < 1:
        raise ValueError(f"n is {n}; draw at least one sample")
    if label is None:
        return torch.arange(n) % len(names) if names else None
    if not names:
        raise ValueError("neither the prior nor the decoder of this run knows classes; leave label out")
    if str(label) not in names and not (str(label).isdecimal() and int(label) < len(names)):
        raise ValueError(f"there is no label {label}; name one of {', '.join(names)}")
    return torch.full((n,), names.index(str(label)) if str(label) in names else int(label))


Precision = Literal["float32", "bfloat16"]
"""Of what is drawn by."""


def variant(prior: Prior, steps: int | None, precision: Precision) -> Prior:
    """The prior, or a copy that draws otherwise: a masked one, or the masked ones of several levels, in so many `steps`
    a level, and in another `precision`. Raises ValueError where nothing is masked, or one is out of its range."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision}; make it float32 or bfloat16")
    if steps is None and precision == "float32":
        return prior
    prior = copy.deepcopy(prior)
    if steps is not None:
        masked = [part for part in prior.modules() if isinstance(part, MaskedTransformerPrior)]
        if not masked:
            raise ValueError(
                f"steps are of a masked prior, and this one, a {type(prior).__name__}, takes one a symbol or a level; "
                "leave steps out"
            )
        if steps < 1:
            raise ValueError(f"steps is {steps}; a level is filled in at least one step")
        for part in masked:
            part.steps = steps
    return prior.bfloat16() if precision == "bfloat16" else prior


def draws(
    tokenizer: Autoencoder,
    prior: Prior | None,
    n: int,
    labels: Tensor | None,
    choice: Choice,
    known: Indices | None,
    seed: int,
    bar: bool | None,
) -> Iterator[Tensor]:
    """[n, C, *grid] native values on the CPU, batch after batch, each as soon as it is done: tokens drawn from `prior`,
    decoded. Without one, z is drawn from the training prior of each bottleneck, such as N(0, I).

    `labels` [n] are what prior and decoder are told, None where they are told nothing; `known` [1, Q, *grid] holds the
    symbols that all samples share, -1 where one is to be drawn; `bar` as of `Progress`, which counts the tokens. Raises
    ValueError where an argument is out of its range, where a choice of codes is asked of a model without codes, and
    where a bottleneck has no prior.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}; make it 0 or more and less than 2^63")
    if prior is None and choice != AS_LEARNED:
        raise ValueError(
            "temperature, top_k, top_p and guidance are for drawing codes, which this model lacks; leave them out"
        )
    choice.check()  # before any progress is told
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(prior.layout.tokens) if prior is not None else 1
    if known is not None:
        tokens = sum(int((level < 0).sum()) for level in known)
    with Progress("samples", n * tokens, "sample" if prior is None else "token", bar) as progress:
        together = max(FEWEST, min(MOST, _TOKENS // tokens))  # what takes long comes in parts, which can be kept
        for start in range(0, n, together):
            count = min(together, n - start)
            side: Side = {} if labels is None else {"label": labels[start : start + count].to(tokenizer.device)}
            if prior is None:
                x_hat = tokenizer.sample(count, side, generator)
                progress.advance(count)
            else:
                indices = sample(
                    prior,
                    prior.layout,
                    count,
                    side,
                    choice=choice,
                    known=None if known is None else tuple(level.expand(count, *level.shape[1:]) for level in known),
                    generator=generator,
                    advance=progress.advance,
                )
                x_hat = tokenizer.render(indices, side, generator)
            yield tokenizer.signal.to_native(x_hat).cpu()

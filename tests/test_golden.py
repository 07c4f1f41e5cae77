"""Files that an earlier version wrote are read as it meant them."""

from __future__ import annotations

from pathlib import Path

import torch

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_source
from vqkit.modality import Image
from vqkit.priors import TransformerPrior
from vqkit.tokens import TokenShards

GOLDEN = Path(__file__).parent / "golden"


def test_a_stored_tokenizer_gives_the_stored_tokens() -> None:
    tokenizer = checkpoint.load(GOLDEN / "tokenizer", Autoencoder)
    tokens = TokenShards(GOLDEN / "validation", checkpoint.fingerprint(GOLDEN / "tokenizer"))
    stored = tokens.read(range(len(tokens)))
    digits = Dataset(open_source("digits").split("validation"), Image()).read(range(len(tokens)))
    assert stored.key == digits.key
    assert torch.equal(stored.side["label"], digits.side["label"])
    assert torch.equal(stored.indices[0], tokenizer.encode(digits.x)[0])
    assert tokens.layout == tokenizer.layout()


def test_a_stored_prior_knows_its_tokenizer_and_gives_finite_nats() -> None:
    prior = checkpoint.load(GOLDEN / "prior", TransformerPrior)
    assert checkpoint.facts(GOLDEN / "prior") == {"tokenizer": checkpoint.fingerprint(GOLDEN / "tokenizer")}
    tokens = TokenShards(GOLDEN / "validation").read(range(8))
    nats = -prior.log_prob(tokens.indices, tokens.side)[0].detach().mean()
    assert 0 < float(nats) < 2.78  # log 16 = 2.77 is knowing nothing

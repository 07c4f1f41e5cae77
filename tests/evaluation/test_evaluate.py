from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from vqkit.autoencoders import Autoencoder, FeedForwardDecoder, ProjectedLevel
from vqkit.bottlenecks import GaussianBottleneck, VectorQuantizer
from vqkit.evaluation import MEASURES, evaluate, rows, table
from vqkit.evaluation.measures import RATES
from vqkit.likelihoods import Gaussian
from vqkit.priors import UniformPrior, UnigramPrior
from vqkit.signal import Batch, Signal

SIGNAL = Signal(1, (8, 8), 0, 255, 256, ("even", "odd"))

UNSCORED = {name for name in MEASURES if name.startswith(("nll", "shuffled", "elbo", "bits_per_dim"))}  # by a density


class OneMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 4, stride=4)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x)]


@pytest.fixture
def tokenizer() -> Autoencoder:
    torch.manual_seed(0)
    decoder = FeedForwardDecoder(SIGNAL, nn.ConvTranspose2d(3, 1, 4, stride=4), Gaussian())
    return Autoencoder(SIGNAL, OneMap(), [ProjectedLevel(4, VectorQuantizer(3, 16))], decoder)


def batches(count: int = 10) -> list[Batch]:
    x = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    label = torch.arange(count) % 2
    rows = [slice(0, 7), slice(7, count)]
    return [Batch(x[r], None, {"label": label[r]}, [str(i) for i in range(count)[r]]) for r in rows]


def test_every_measure_is_there_and_is_json(tokenizer: Autoencoder) -> None:
    layout = tokenizer.layout()
    found = evaluate(tokenizer, UniformPrior(layout), UnigramPrior(layout), batches())
    of_levels = {"grids", "nats_per_token_of_levels", "unigram_nats_per_token_of_levels"}
    of_a_file = {"coded_bits", "coded_samples"}
    assert set(found) == {*MEASURES, *of_levels, "usage_of_codebooks", "perplexity_of_codebooks", "reasons"} - of_a_file
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {name for name in found if found[name] is None} == set(found["reasons"]) == {"ms_ssim", *UNSCORED}
    assert (found["samples"], found["held_out_tokens"], found["nominal_bits"]) == (10, 40, 16.0)
    assert found["estimated_bits"] == pytest.approx(16.0)
    assert found["unigram_nats_per_token"] == pytest.approx(found["uniform_nats_per_token"])


def test_fidelity_is_of_what_the_tokens_give_back(tokenizer: Autoencoder) -> None:
    found = evaluate(tokenizer, None, UnigramPrior(tokenizer.layout()), batches())
    x = torch.cat([batch.x for batch in batches()])
    x_hat = SIGNAL.to_native(tokenizer.reconstruct(x))
    assert found["mse"] == pytest.approx(float(((x.double() - x_hat.double()) / 255).square().mean()), rel=1e-6)
    rates = {"kl_nats_learned_prior", "rate_bits_per_dim_learned_prior"}
    assert set(found["reasons"]) == {"ms_ssim", "estimated_bits", "nats_per_token", *rates, *UNSCORED}


def test_mistakes_are_named(tokenizer: Autoencoder) -> None:
    unigram = UnigramPrior(tokenizer.layout())
    with pytest.raises(ValueError, match="at least one sample"):
        evaluate(tokenizer, None, unigram, [])
    with pytest.raises(ValueError, match="fit a UnigramPrior"):
        evaluate(tokenizer, None, None, batches())
    padded = batches()[0]._replace(mask=torch.ones(7, 8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="no padding"):
        evaluate(tokenizer, None, unigram, [padded])


def test_the_table_has_a_column_a_split_and_says_why_numbers_miss(tokenizer: Autoencoder) -> None:
    found = evaluate(tokenizer, None, UnigramPrior(tokenizer.layout()), batches())
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table({"train": found, "validation": found}))
    text = console.export_text()
    assert all(measure.title in text for key, measure in MEASURES.items() if key not in (*RATES, "coded_samples"))
    assert "Rate: nominal / estimated / coded, bits a sample" in text and "16.0 / — / —" in text
    assert "train" in text and "validation" in text and "The run has no prior" in text


def test_levels_have_rows_of_their_own_where_there_are_several(tokenizer: Autoencoder) -> None:
    one = evaluate(tokenizer, None, UnigramPrior(tokenizer.layout()), batches())
    assert not any(row.of_level for row in rows({"train": one}))
    two = one | {"grids": [[1, 2], [4, 4]], "unigram_nats_per_token_of_levels": [0.25, None]}
    found = list(rows({"train": two, "validation": two | {"unigram_nats_per_token_of_levels": [0.5, 1.0]}}))
    start = [row.title for row in found].index(MEASURES["unigram_nats_per_token"].title)
    assert [(row.title, row.values) for row in found if row.of_level] == [
        ("level 1, 1 × 2", ["0.2500", "0.5000"]),
        ("level 2, 4 × 4", ["—", "1.0000"]),
    ]
    assert [row.of_level for row in found[start : start + 3]] == [False, True, True]


def test_a_model_without_tokens_has_no_row_of_them(tokenizer: Autoencoder) -> None:
    vae = Autoencoder(SIGNAL, OneMap(), [ProjectedLevel(4, GaussianBottleneck(3))], tokenizer.decoder)
    found = evaluate(vae, None, None, batches())
    of_tokens = {"usage", "perplexity", "held_out_tokens", "coded_samples", *RATES}
    of_tokens |= {name for name in MEASURES if name.endswith(("_per_token", "_learned_prior"))}
    assert set(found) == {*MEASURES, "reasons"} - of_tokens
    x = torch.cat([batch.x for batch in batches()])
    x_hat = SIGNAL.to_native(vae.reconstruct(x))  # of the mean
    assert found["mse"] == pytest.approx(float(((x.double() - x_hat.double()) / 255).square().mean()), rel=1e-6)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table({"train": found, "validation": found}))
    text = console.export_text()
    assert all((measure.title in text) == (name not in of_tokens) for name, measure in MEASURES.items())
    assert " ".join(text.split()).count("cannot score data of 256 levels") == 1

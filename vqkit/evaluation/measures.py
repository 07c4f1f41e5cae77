"""What is measured: every number's name, unit and meaning, once, for the terminal and for the report."""

from __future__ import annotations

import math
from typing import NamedTuple

ABSENT = "\N{EM DASH}"
"""What stands where a number could not be measured."""


class Measured(NamedTuple):
    """What one part of the evaluation found: its numbers, and for each that is None, a sentence that says why."""

    numbers: dict[str, float | None]
    reasons: dict[str, str]


class Measure(NamedTuple):
    """`unit` is written after the name, and "%" has `show` turn a share into per cent. `meaning` is one sentence."""

    name: str
    unit: str
    decimals: int
    meaning: str

    @property
    def title(self) -> str:
        """The name with its unit: "PSNR, dB"."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def show(self, value: float | None) -> str:
        """The number as text, a dash where there is none or it is not finite."""
        if value is None or not math.isfinite(value):
            return ABSENT
        return f"{value * (100 if self.unit == '%' else 1):,.{self.decimals}f}"


MEASURES: dict[str, Measure] = {
    "samples": Measure("Samples", "", 0, "How many samples of the split were measured."),
    "mse": Measure("Mean squared error", "", 5, "Of the rounded reconstruction, with values on a scale from 0 to 1."),
    "nmse": Measure(
        "Normalised error", "", 4, "MSE over the variance of the data: 1 is a reconstruction of pure mean."
    ),
    "psnr": Measure("PSNR", "dB", 2, "Peak signal to noise, from the MSE of the whole split; more is better."),
    "ssim": Measure("SSIM", "", 4, "Structural similarity, the mean over pictures; 1 is identical."),
    "ms_ssim": Measure("MS-SSIM", "", 4, "Structural similarity over five scales, the mean over pictures."),
    "usage": Measure("Codebook usage", "%", 1, "Share of the entries that occur at least once in the counted tokens."),
    "perplexity": Measure(
        "Perplexity", "codes", 1, "How many equally likely codes would be as varied as these tokens."
    ),
    "held_out_tokens": Measure("Tokens counted", "", 0, "The tokens that usage, perplexity and the rates are over."),
    "nominal_bits": Measure(
        "Nominal rate", "bits a sample", 1, "log2 of the alphabets: what the tokens cost unmodelled."
    ),
    "estimated_bits": Measure("Estimated rate", "bits a sample", 1, "-log2 of their probability under the prior."),
    "coded_bits": Measure(
        "Coded rate", "bits a sample", 1, "8 x the bytes of a file of held-out samples, coded by the prior."
    ),
    "coded_samples": Measure("Samples coded", "", 0, "How many samples that file holds."),
    "nats_per_token": Measure("Prior", "nats a token", 4, "Cross-entropy of the tokens under the learned prior."),
    "unigram_nats_per_token": Measure(
        "Unigram", "nats a token", 4, "The same under the code frequencies of the training split, position ignored."
    ),
    "uniform_nats_per_token": Measure("Uniform", "nats a token", 4, "The same when every code is equally likely."),
    "nll_nats": Measure("NLL given z", "nats a sample", 2, "-log p(x | z): what the data cost once z is known."),
    "shuffled_z_nats": Measure(
        "Shuffled z", "nats a sample", 2, "What the z of another sample adds to the NLL: 0 where the decoder ignores z."
    ),
    "kl_nats_training_prior": Measure(
        "KL, training prior",
        "nats a sample",
        2,
        "What z costs under N(0, I), or with all codes alike.",
    ),
    "kl_nats_learned_prior": Measure(
        "KL, learned prior",
        "nats a sample",
        2,
        "What z costs under the prior that was learned over its indices, given the label where it knows classes.",
    ),
    "elbo_nats_training_prior": Measure(
        "ELBO, training prior", "nats a sample", 2, "At most log p(x): minus the sum of NLL and KL; more is better."
    ),
    "elbo_nats_learned_prior": Measure("ELBO, learned prior", "nats a sample", 2, "The same under the learned prior."),
    "nll_bits_per_dim": Measure(
        "Distortion", "bits a dimension", 4, "The NLL in bits for each value of the data (each pixel and channel)."
    ),
    "rate_bits_per_dim_training_prior": Measure(
        "Rate, training prior", "bits a dimension", 4, "The KL in bits for each value of the data."
    ),
    "rate_bits_per_dim_learned_prior": Measure(
        "Rate, learned prior", "bits a dimension", 4, "The same under the learned prior."
    ),
    "bits_per_dim_training_prior": Measure(
        "Total, training prior", "bits a dimension", 4, "Their sum, -ELBO: at least -log2 p(x); less is better."
    ),
    "bits_per_dim_learned_prior": Measure(
        "Total, learned prior", "bits a dimension", 4, "The same under the learned prior."
    ),
}

RATES = ("nominal_bits", "estimated_bits", "coded_bits")
"""What stands in one line, since each is read against the others."""

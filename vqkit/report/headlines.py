"""The few numbers to read first."""

from __future__ import annotations

from vqkit.evaluation import MEASURES
from vqkit.evaluation.measures import ABSENT
from vqkit.report.findings import Findings


def headlines(findings: Findings) -> list[dict[str, str]]:
    """Of the validation split, each with what it is to be compared with."""
    numbers = findings.evaluation.get("validation", {})

    def show(key: str) -> str:
        return MEASURES[key].show(numbers.get(key))

    train_psnr = MEASURES["psnr"].show(findings.evaluation.get("train", {}).get("psnr"))
    sizes = sorted({size for level in findings.layout.codebook_sizes for size in level})
    alphabet = " or ".join(map(str, sizes))
    told = {
        "psnr": ("dB", f"{train_psnr} dB on the training split"),
        "nmse": ("", "of the variance of the data is lost"),
        "perplexity": ("", f"codes, of {alphabet}"),
        "usage": ("%", f"of the entries occur in {show('held_out_tokens')} tokens"),
        "estimated_bits": ("bits", f"a picture, {show('nominal_bits')} nominal"),
        "nats_per_token": ("nats", f"a token, {show('unigram_nats_per_token')} for code frequencies alone"),
    }
    if not findings.layout.grids:
        told = {key: told[key] for key in ("psnr", "nmse")} | {
            "kl_nats_training_prior": ("nats", "a picture that the latent costs under its prior"),
            "bits_per_dim_training_prior": ("bits", f"a dimension, {show('nll_bits_per_dim')} of them distortion"),
        }
    missing = numbers.get("reasons", {})
    return [
        {"name": MEASURES[key].name, "value": ABSENT, "unit": "", "beside": missing.get(key, "Not measured.")}
        if (value := show(key)) == ABSENT
        else {"name": MEASURES[key].name, "value": value, "unit": unit, "beside": beside}
        for key, (unit, beside) in told.items()
    ]

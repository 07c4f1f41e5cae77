"""What a run found -> one HTML page that needs no other file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jinja2 import Environment, StrictUndefined
from torch import Tensor

from vqkit.evaluation import MEASURES, perplexity, psnr, rows, usage
from vqkit.evaluation.measures import ABSENT
from vqkit.report.curves import training_charts, usage_chart
from vqkit.report.pictures import index_map, picture
from vqkit.signal import Indices, Layout

_CLOSER = 6
"""How many pictures are looked at closer: level by level, and as index maps."""


class Findings(NamedTuple):
    """Everything that the page tells.

    `command` repeats the run. `evaluation` maps "train" and "validation" to what `evaluate` returned. `originals` are
    uint8 [N, C, H, W], and `reconstructions` those of the same shape from so many levels, coarse to fine, the last from
    all of them. `indices` are of the originals; a model without tokens has none, and a layout without levels. `samples`
    is uint8 [M, C, H, W], None where there is no prior, and has M `sample_labels`, none where the prior was asked for
    nothing. `token_counts` has an int64 [Q, K] a level, of held-out tokens. `metrics` maps "tokenizer" and "prior" to
    the rows of their logs, with a column `step`. `facts` are told as they are, such as hardware, seconds and versions.
    """

    title: str
    config_yaml: str
    command: str
    evaluation: Mapping[str, Mapping[str, Any]]
    originals: Tensor
    reconstructions: Mapping[int, Tensor]
    indices: Indices
    samples: Tensor | None
    sample_labels: Sequence[str]
    layout: Layout
    token_counts: Sequence[Tensor]
    metrics: Mapping[str, Sequence[Mapping[str, Any]]]
    facts: Mapping[str, str]


def write(findings: Findings, path: str | os.PathLike[str]) -> None:
    """The page, whole or not at all; an older one of that name is replaced. Raises ValueError where the pictures are
    not uint8 [N, C, H, W]."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(page(findings), encoding="utf-8")
    os.replace(part, path)


def page(findings: Findings) -> str:
    """The page's HTML: no script, no link and no picture that is not in it."""
    _check(findings)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    books = list(zip(findings.token_counts, findings.layout.codebook_sizes, strict=True))
    several = len(books) > 1
    return template.render(
        findings=findings,
        headlines=_headlines(findings),
        pairs=_pairs(findings),
        prefixes=_prefixes(findings),
        maps=_maps(findings),
        samples=_samples(findings),
        books=_books(findings),
        usage_charts=[
            usage_chart(f"Level {number}: times a code occurs" if several else "Times a code occurs", counts, sizes)
            for number, (counts, sizes) in enumerate(books, 1)
        ],
        training={name: charts for name, rows in findings.metrics.items() if (charts := training_charts(rows))},
        numbers=list(rows(findings.evaluation)),
    )


def _check(findings: Findings) -> None:
    pictures = {"originals": findings.originals}
    pictures |= {f"reconstructions from {n} levels": x_hat for n, x_hat in findings.reconstructions.items()}
    if findings.samples is not None:
        pictures["samples"] = findings.samples
    for name, x in pictures.items():
        if x.dtype != torch.uint8 or x.ndim != 4:
            raise ValueError(
                f"{name} are {str(x.dtype).removeprefix('torch.')} {list(x.shape)}; the report takes uint8 [N, C, H, W]"
            )
    if any(findings.originals.shape != x_hat.shape for x_hat in findings.reconstructions.values()):
        raise ValueError("originals and reconstructions differ in shape; give the same pictures in the same order")


def _headlines(findings: Findings) -> list[dict[str, str]]:
    """The few numbers to read first, of the validation split, each with what it is to be compared with."""
    numbers = findings.evaluation.get("validation", {})

    def show(key: str) -> str:
        return MEASURES[key].show(numbers.get(key))

    train_psnr = MEASURES["psnr"].show(findings.evaluation.get("train", {}).get("psnr"))
    sizes = sorted({size for level in findings.layout.codebook_sizes for size in level})
    alphabet = " or ".join(map(str, sizes))
    headlines = {
        "psnr": ("dB", f"{train_psnr} dB on the training split"),
        "nmse": ("", "of the variance of the data is lost"),
        "perplexity": ("", f"codes, of {alphabet}"),
        "usage": ("%", f"of the entries occur in {show('held_out_tokens')} tokens"),
        "estimated_bits": ("bits", f"a picture, {show('nominal_bits')} nominal"),
        "nats_per_token": ("nats", f"a token, {show('unigram_nats_per_token')} for code frequencies alone"),
    }
    if not findings.layout.grids:
        headlines = {key: headlines[key] for key in ("psnr", "nmse")} | {
            "kl_nats_training_prior": ("nats", "a picture that the latent costs under its prior"),
            "bits_per_dim_training_prior": ("bits", f"a dimension, {show('nll_bits_per_dim')} of them distortion"),
        }
    missing = numbers.get("reasons", {})
    return [
        {"name": MEASURES[key].name, "value": ABSENT, "unit": "", "beside": missing.get(key, "Not measured.")}
        if (value := show(key)) == ABSENT
        else {"name": MEASURES[key].name, "value": value, "unit": unit, "beside": beside}
        for key, (unit, beside) in headlines.items()
    ]


def _pairs(findings: Findings) -> list[dict[str, str]]:
    """Every original beside its reconstruction, with its own PSNR."""
    reconstructions = findings.reconstructions[max(findings.reconstructions)]
    return [
        {"original": picture(x), "reconstruction": picture(x_hat), "psnr": _psnr(x, x_hat)}
        for x, x_hat in zip(findings.originals, reconstructions, strict=True)
    ]


def _psnr(x: Tensor, x_hat: Tensor) -> str:
    """Of one picture, uint8 [C, H, W]."""
    mse = ((x.double() - x_hat.double()) / 255).square().mean()
    return f"{float(psnr(mse)):.1f} dB" if mse else "exact"


def _prefixes(findings: Findings) -> list[dict[str, Any]]:
    """The first pictures, each from more and more levels, with its PSNR from so many; none where the model decodes no
    fewer than all."""
    if len(findings.reconstructions) < 2:
        return []
    return [
        {
            "original": picture(x),
            "steps": [
                {"image": picture(x_hat[number]), "levels": levels, "psnr": _psnr(x, x_hat[number])}
                for levels, x_hat in findings.reconstructions.items()
            ],
        }
        for number, x in enumerate(findings.originals[:_CLOSER])
    ]


def _maps(findings: Findings) -> list[dict[str, Any]]:
    """The first pictures, each with a map for every level and codebook whose grid is flat."""
    result = []
    for number, original in enumerate(findings.originals[:_CLOSER]):
        maps = [
            {"image": index_map(book), "name": _map_name(findings.layout, level, q)}
            for level, indices in enumerate(findings.indices)
            for q, book in enumerate(indices[number])
            if book.ndim == 2
        ]
        result.append({"original": picture(original), "maps": maps})
    return result


def _book_name(layout: Layout, level: int, book: int) -> str:
    """Level and codebook, counted from 1, as far as there are several."""
    parts = [f"level {level + 1}"] if len(layout.grids) > 1 else []
    if len(layout.codebook_sizes[level]) > 1:
        parts.append(f"codebook {book + 1}")
    return ", ".join(parts)


def _map_name(layout: Layout, level: int, book: int) -> str:
    grid = " × ".join(map(str, layout.grids[level])) + " tokens"
    return ", ".join(filter(None, (_book_name(layout, level, book), grid)))


def _samples(findings: Findings) -> list[dict[str, str]]:
    if findings.samples is None:
        return []
    labels = findings.sample_labels or [""] * len(findings.samples)
    return [{"image": picture(x), "label": label} for x, label in zip(findings.samples, labels, strict=True)]


def _books(findings: Findings) -> list[dict[str, str]]:
    """One row a codebook: its size, perplexity and dead share over the counted tokens."""
    return [
        {
            "name": _book_name(findings.layout, level - 1, book - 1) or "all tokens",
            "size": f"{size:,}",
            "tokens": f"{int(counts[book - 1].sum()):,}",
            "perplexity": MEASURES["perplexity"].show(float(perplexity(counts[book - 1]))),
            "dead": f"{100 - 100 * float(shares[book - 1]):.1f} %",
        }
        for level, (counts, sizes) in enumerate(
            zip(findings.token_counts, findings.layout.codebook_sizes, strict=True), 1
        )
        for shares in [usage(counts, sizes)]
        for book, size in enumerate(sizes, 1)
    ]

"""Originals beside what the model makes of them, level by level, and as index maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vqkit.evaluation import psnr
from vqkit.report.codebooks import book_name
from vqkit.report.findings import Findings
from vqkit.report.pictures import index_map, picture
from vqkit.signal import Layout

_CLOSER = 6
"""How many pictures are looked at closer: level by level, and as index maps."""


def pairs(findings: Findings) -> list[dict[str, str]]:
    """Every original beside its reconstruction, with its own PSNR."""
    reconstructions = findings.reconstructions[max(findings.reconstructions)]
    return [
        {"original": picture(x), "reconstruction": picture(x_hat), "psnr": _psnr(x, x_hat)}
        for x, x_hat in zip(findings.originals, reconstructions, strict=True)
    ]


def prefixes(findings: Findings) -> list[dict[str, Any]]:
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


def maps(findings: Findings) -> list[dict[str, Any]]:
    """The first pictures, each with a map for every level and codebook whose grid is flat."""
    result = []
    for number, original in enumerate(findings.originals[:_CLOSER]):
        found = [
            {"image": index_map(book), "name": _map_name(findings.layout, level, q)}
            for level, indices in enumerate(findings.indices)
            for q, book in enumerate(indices[number])
            if book.ndim == 2
        ]
        result.append({"original": picture(original), "maps": found})
    return result


def _psnr(x: Tensor, x_hat: Tensor) -> str:
    """Of one picture, uint8 [C, H, W]."""
    mse = ((x.double() - x_hat.double()) / 255).square().mean()
    return f"{float(psnr(mse)):.1f} dB" if mse else "exact"


def _map_name(layout: Layout, level: int, book: int) -> str:
    grid = " × ".join(map(str, layout.grids[level])) + " tokens"
    return ", ".join(filter(None, (book_name(layout, level, book), grid)))

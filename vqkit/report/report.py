"""What a run found -> one HTML page that needs no other file."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vqkit.evaluation import rows, splits
from vqkit.report import codebooks, generation, reconstructions
from vqkit.report.curves import training_charts
from vqkit.report.findings import Findings
from vqkit.report.headlines import headlines
from vqkit.report.svg import PALETTE


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
    findings.check()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    return template.render(
        palette=Markup(PALETTE),
        findings=findings,
        headlines=headlines(findings),
        pairs=reconstructions.pairs(findings),
        prefixes=reconstructions.prefixes(findings),
        maps=reconstructions.maps(findings),
        samples=generation.samples(findings),
        choices=generation.choices(findings),
        neighbours=generation.neighbours(findings),
        memorisation=generation.memorisation(findings),
        classification=generation.classification(findings),
        books=codebooks.books(findings),
        usage_charts=codebooks.charts(findings),
        training={name: charts for name, rows in findings.metrics.items() if (charts := training_charts(rows))},
        splits=list(splits(findings.evaluation)),
        numbers=list(rows(findings.evaluation)),
    )

"""How much of each codebook the held-out tokens use."""

from __future__ import annotations

from vqkit.evaluation import MEASURES, perplexity, usage
from vqkit.report.curves import Chart, usage_chart
from vqkit.report.findings import Findings
from vqkit.signal import Layout


def charts(findings: Findings) -> list[Chart]:
    """How often each code occurs, a chart a level."""
    levels = list(zip(findings.token_counts, findings.layout.codebook_sizes, strict=True))
    title = "times a code occurs"
    return [
        usage_chart(f"Level {number}: {title}" if len(levels) > 1 else title.capitalize(), counts, sizes)
        for number, (counts, sizes) in enumerate(levels, 1)
    ]


def books(findings: Findings) -> list[dict[str, str]]:
    """One row a codebook: its size, perplexity and dead share over the counted tokens."""
    return [
        {
            "name": book_name(findings.layout, level - 1, book - 1) or "all tokens",
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


def book_name(layout: Layout, level: int, book: int) -> str:
    """Level and codebook, counted from 1, as far as there are several."""
    parts = [f"level {level + 1}"] if len(layout.grids) > 1 else []
    if len(layout.codebook_sizes[level]) > 1:
        parts.append(f"codebook {book + 1}")
    return ", ".join(parts)

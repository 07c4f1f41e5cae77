"""Whether a level's codebooks are in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vqkit.doctor.finding import Finding
from vqkit.signal import Layout

_COLLAPSED = 0.25  # of the way from one code to all: two bits a token are for nothing, and published ones reach 0.4
_DEAD = 0.2  # share of the entries: revival leaves a few per cent, and a fifth is what users of large codebooks report
_TOKENS_A_CODE = 10  # with fewer counted tokens, many entries are missing by chance alone
UNUSED = 1.1  # perplexity: a seventh of a bit a token, next to nothing


class Codebooks(NamedTuple):
    """What was counted of one level's codebooks, each of which got as many held-out `tokens`."""

    level: int
    name: str
    sizes: Sequence[int]
    perplexities: Sequence[float]
    usages: Sequence[float]
    tokens: int

    def named(self, book: int) -> str:
        """A codebook in words, counted from 1, as far as there are several."""
        return f"codebook {book + 1} of {self.name}" if len(self.sizes) > 1 else self.name

    @property
    def unused(self) -> bool:
        """Whether the tokens say next to nothing."""
        return max(self.perplexities) < UNUSED


def codebooks_of(layout: Layout, held_out: Mapping[str, Any]) -> list[Codebooks]:
    """Of each level, coarse to fine. Raises ValueError where `held_out` has no numbers of each codebook."""
    if layout.grids and "perplexity_of_codebooks" not in held_out:
        raise ValueError("the evaluation is of an older vqkit; make it again with: vqkit evaluate RUN")
    several = len(layout.grids) > 1
    return [
        Codebooks(
            number + 1,
            f"level {number + 1}" if several else "the tokenizer",
            sizes,
            held_out["perplexity_of_codebooks"][number],
            held_out["usage_of_codebooks"][number],
            held_out["samples"] * math.prod(grid),
        )
        for number, (grid, sizes) in enumerate(zip(layout.grids, layout.codebook_sizes, strict=True))
    ]


def unused_level(codebooks: Codebooks) -> Finding:
    """A level whose tokens are nearly constant: never well."""
    return Finding(
        "unused level",
        codebooks.level,
        f"The tokens of {codebooks.name} are nearly all the same: their perplexity is "
        f"{max(codebooks.perplexities):.2f} at most, over {codebooks.tokens:,} held-out tokens of each codebook.",
        "The other levels do without it: leave it out, or make their codebooks smaller.",
    )


def collapse(codebooks: Codebooks) -> Finding:
    """The perplexity of the level's worst codebook, beside the most that so many tokens can have."""
    most = [min(size, codebooks.tokens) for size in codebooks.sizes]
    shares = [(p - 1) / (k - 1) if k > 1 else 1.0 for p, k in zip(codebooks.perplexities, most, strict=True)]
    worst = min(range(len(shares)), key=shares.__getitem__)
    return Finding(
        "codebook collapse",
        codebooks.level,
        f"The perplexity of {codebooks.named(worst)} is {codebooks.perplexities[worst]:.1f} of "
        f"{codebooks.sizes[worst]:,} codes, over {codebooks.tokens:,} held-out tokens.",
        "Few codes do all the work: raise the bottleneck's revival where it has one (0 is off), train longer, or lower "
        "the learning rate; where that does not help, take a smaller codebook."
        if shares[worst] < _COLLAPSED
        else None,
    )


def dead_codes(codebooks: Codebooks) -> Finding | None:
    """The dead share of the level's worst codebook, of those that got enough tokens to tell."""
    judged = [book for book, size in enumerate(codebooks.sizes) if codebooks.tokens >= _TOKENS_A_CODE * size]
    if not judged:
        return None
    worst = min(judged, key=codebooks.usages.__getitem__)
    dead = 1 - codebooks.usages[worst]
    return Finding(
        "dead codes",
        codebooks.level,
        f"Of the {codebooks.sizes[worst]:,} codes of {codebooks.named(worst)}, {dead:.1%} do not occur in "
        f"{codebooks.tokens:,} held-out tokens.",
        "They cost rate and memory for nothing: raise the bottleneck's revival where it has one (0 is off), or take a "
        "smaller codebook."
        if dead > _DEAD
        else None,
    )

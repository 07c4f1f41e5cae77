"""What is wrong with a finished run, and what to change: one check for each known way in which training goes astray."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from vqkit.evaluation import GENERATION
from vqkit.signal import Layout

Rows = Sequence[Mapping[str, float]]
"""The rows of a metrics file."""

_COLLAPSED = 0.25  # of the way from one code to all: two bits a token are for nothing, and published ones reach 0.4
_DEAD = 0.2  # share of the entries: revival leaves a few per cent, and a fifth is what users of large codebooks report
_TOKENS_A_CODE = 10  # with fewer counted tokens, many entries are missing by chance alone
_IGNORED = math.log(2)  # nats a sample: less than a bit, which does not tell two samples apart
_UNUSED = 1.1  # perplexity: a seventh of a bit a token, next to nothing
_APART = 2.0  # times: means of what they win are then a quarter of its energy; runs that work end within 1.4
_NO_BETTER = 0.99  # of the unigram's nats: within what another order of the batches changes
_OVERFIT = {"tokenizer": ("mse", 1.5), "prior": ("nats_per_token", 1.1)}  # validation over train: 2 dB, a tenth more
_COARSE = 0.8  # of the distance of held-out pictures: what a copy has then is within what samples differ by
_MOVING = 0.05  # of the loss's whole fall, over the last fifth of training: beyond the noise of a fifth's mean
_FEWEST_ROWS = 10  # of a log: two in each fifth
_WAITING = 0.2  # share of the time: what a faster source could save at most

_SETTINGS = {"tokenizer": "training", "prior": "prior_training"}  # where a recipe says how a stage is trained


class Finding(NamedTuple):
    """What one check saw, with its numbers, in a `sentence`, and the `remedy`: None where all is well. `level` counts
    from 1, coarse to fine; it is None where the check is of no level."""

    check: str
    level: int | None
    sentence: str
    remedy: str | None


class _Codebooks(NamedTuple):
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


def diagnose(
    evaluation: Mapping[str, Mapping[str, Any]], layout: Layout, metrics: Mapping[str, Rows]
) -> tuple[Finding, ...]:
    """Every check that the numbers allow.

    Args:
        evaluation: what `evaluate` found in the splits "train" and "validation", and perhaps what was measured of
            samples, under "generation".
        layout: the tokenizer's; without levels where it has no indices, whose checks are then left out.
        metrics: the logs of the stages "tokenizer" and "prior"; no rows where a stage was not trained.

    Raises ValueError where the evaluation is one without numbers of each codebook.
    """
    train, held_out = evaluation["train"], evaluation["validation"]
    if layout.grids and "perplexity_of_codebooks" not in held_out:
        raise ValueError("the evaluation is of an older vqkit; make it again with: vqkit evaluate RUN")
    levels = _codebooks(layout, held_out)
    found: list[Finding | None] = []
    for codebooks in levels:
        if len(levels) > 1 and max(codebooks.perplexities) < _UNUSED:
            found.append(unused_level(codebooks))
        else:
            found += [collapse(codebooks), dead_codes(codebooks)]
        suffix = f"_{codebooks.level - 1}" if len(levels) > 1 else ""
        found.append(norms_apart(codebooks, metrics["tokenizer"], suffix))
    found += [posterior_collapse(held_out), useless_prior(held_out)]
    found.append(memorisation(evaluation.get(GENERATION, {}).get("memorisation", {})))
    for stage, rows in metrics.items():
        gap = overfitting(stage, rows, train, held_out)
        overfits = gap is not None and gap.remedy is not None
        found += [gap, loss_at_the_end(stage, rows, overfits), waiting_for_data(stage, rows)]
    return tuple(finding for finding in found if finding is not None)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings for people: what is to be changed first, then what is well."""
    ill = [f"- {finding.sentence}\n  {finding.remedy}" for finding in findings if finding.remedy]
    well = [f"- {finding.sentence}" for finding in findings if not finding.remedy]
    parts = [f"To be changed ({len(ill)} of {len(findings)} findings):\n" + "\n".join(ill)] if ill else []
    parts += ["{}:\n".format("The rest is well" if ill else "All is well") + "\n".join(well)] if well else []
    return "\n\n".join(parts)


def _codebooks(layout: Layout, held_out: Mapping[str, Any]) -> list[_Codebooks]:
    several = len(layout.grids) > 1
    return [
        _Codebooks(
            number + 1,
            f"level {number + 1}" if several else "the tokenizer",
            sizes,
            held_out["perplexity_of_codebooks"][number],
            held_out["usage_of_codebooks"][number],
            held_out["samples"] * math.prod(grid),
        )
        for number, (grid, sizes) in enumerate(zip(layout.grids, layout.codebook_sizes, strict=True))
    ]


def unused_level(codebooks: _Codebooks) -> Finding:
    """A level whose tokens are nearly constant: never well."""
    return Finding(
        "unused level",
        codebooks.level,
        f"The tokens of {codebooks.name} are nearly all the same: their perplexity is "
        f"{max(codebooks.perplexities):.2f} at most, over {codebooks.tokens:,} held-out tokens of each codebook.",
        "The other levels do without it: leave it out, or make their codebooks smaller.",
    )


def collapse(codebooks: _Codebooks) -> Finding:
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


def dead_codes(codebooks: _Codebooks) -> Finding | None:
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


def posterior_collapse(held_out: Mapping[str, Any]) -> Finding | None:
    """What z costs under its prior, and what it saves the decoder; None where too little was measured: without a
    likelihood, the cost of tokens, which is what it is, says nothing."""
    cost, saved = held_out.get("kl_nats_training_prior"), held_out.get("shuffled_z_nats")
    tokens = "nominal_bits" in held_out
    if saved is None and (cost is None or tokens):
        return None
    told = [] if cost is None else [f"costs {cost:.2f} nats under its training prior"]
    told += [] if saved is None else [f"saves the decoder {saved:.2f} nats over that of another sample"]
    sentence = f"A sample's z {' and '.join(told)}."
    if min(number for number in (cost, saved) if number is not None) >= _IGNORED:
        return Finding("posterior collapse", None, sentence, None)
    remedy = "The decoder does without z: take a weaker one, such as one without value_prior, or "
    if tokens:
        remedy += f"train it for longer, with more {_SETTINGS['tokenizer']}.max_steps."
    else:
        remedy += "let z be used for free, by a quantizer, or by a GaussianBottleneck with free_bits or a lower beta."
    return Finding("posterior collapse", None, sentence, remedy)


def norms_apart(codebooks: _Codebooks, rows: Rows, suffix: str) -> Finding | None:
    """How far the encoder's vectors and their codes are apart in length after training; early on, while the encoder
    learns fastest, healthy ones are as well. Of the part where they are furthest apart, such as a stage of a residual
    quantizer. None where the bottleneck logs no norms, or the log is short."""
    columns = dict.fromkeys(name for row in rows for name in row)
    # A level of several parts logs each of them, and their mean, which would hide the worst.
    of_parts = [name for name in columns if re.fullmatch(rf"z_e_norm(_\d+)+{suffix}", name)]
    ratios = [_ratios(rows, encoder) for encoder in of_parts or [f"z_e_norm{suffix}"]]
    told = {part: _fifths(series) for part, series in enumerate(ratios) if len(series) >= _FEWEST_ROWS}
    if not told:
        return None
    worst = max(told, key=lambda part: abs(math.log(told[part][-1])))
    first, *_, last = told[worst]
    name = f"part {worst + 1} of {codebooks.name}" if len(ratios) > 1 else codebooks.name
    return Finding(
        "norms apart",
        codebooks.level,
        f"The encoder's vectors of {name} were {first:.2f} times as long as their codes in the first fifth of training "
        f"and are {last:.2f} times as long in the last.",
        "The codes do not keep up with the encoder: raise the bottleneck's commitment_weight or lower its decay, where "
        "it has them, or lower the learning rate."
        if not 1 / _APART < last < _APART
        else None,
    )


def _ratios(rows: Rows, encoder: str) -> list[float]:
    """Of a column of the encoder's norms to that of the codes'."""
    codes = encoder.replace("z_e", "code")
    return [row[encoder] / row[codes] for row in rows if row.get(encoder, 0) > 0 and row.get(codes, 0) > 0]


def useless_prior(held_out: Mapping[str, Any]) -> Finding | None:
    """The prior beside the code frequencies alone; None without a prior, and where a token costs next to nothing."""
    nats, unigram = held_out.get("nats_per_token"), held_out.get("unigram_nats_per_token")
    if nats is None or unigram is None or unigram < math.log(_UNUSED):
        return None
    return Finding(
        "useless prior",
        None,
        f"A held-out token costs {nats:.3f} nats under the prior and {unigram:.3f} by the code frequencies alone.",
        "The prior knows nothing beyond these, and samples drawn from it are noise: train it longer, with another "
        "learning rate, or wider; or take a prior that is trained, such as TransformerPrior."
        if nats > _NO_BETTER * unigram
        else None,
    )


def memorisation(measured: Mapping[str, Any]) -> Finding | None:
    """How near samples are to train pictures, beside held-out pictures and what copies would be; None where it was not
    measured, or the reconstructions are so coarse that copies could not be told."""
    ratio, copies = measured.get("ratio"), measured.get("ratio_of_copies")
    if ratio is None or copies is None or copies > _COARSE:
        return None
    return Finding(
        "memorisation",
        None,
        f"The median sample is {ratio:.2f} times as far from its nearest train picture as a held-out picture is; a "
        f"copy would be {copies:.2f} times as far.",
        "It gives back what it was trained on: give it more data, more weight_decay or dropout, fewer max_steps, or "
        "make the prior smaller."
        if ratio < (1 + copies) / 2
        else None,
    )


def overfitting(stage: str, rows: Rows, train: Mapping[str, Any], held_out: Mapping[str, Any]) -> Finding | None:
    """A stage's validation number beside the same of the data it was trained on; None where it was not measured."""
    (key, most), settings = _OVERFIT[stage], _SETTINGS[stage]
    ours, theirs = train.get(key), held_out.get(key)
    if ours is None or theirs is None:
        return None
    sentence = f"{key} of the {stage} is {theirs:.4g} on the validation split and {ours:.4g} on the train split."
    if theirs <= most * ours:
        return Finding("overfitting", None, sentence, None)
    remedy = f"It knows its data by heart: give it more data, more {settings}.weight_decay, or make it smaller."
    validated = {row[f"validation_{key}"]: row["step"] for row in rows if f"validation_{key}" in row}
    if validated and (best := validated[min(validated)]) < max(validated.values()):
        remedy += f" It was best at step {best:.0f}: so many {settings}.max_steps are enough."
    return Finding("overfitting", None, sentence, remedy)


def loss_at_the_end(stage: str, rows: Rows, overfits: bool) -> Finding | None:
    """What the loss did from the fourth to the last fifth of training, as a share of its whole fall; None for a short
    log. A stage that `overfits` is not asked to learn for longer."""
    losses = [row["loss"] for row in rows if "loss" in row]
    check, settings = "loss at the end", _SETTINGS[stage]
    if len(losses) < _FEWEST_ROWS:
        return None
    fifths = _fifths(losses)
    rise = (fifths[-1] - fifths[-2]) / max(max(losses) - min(fifths), 1e-12)
    remedy = None
    if rise > _MOVING:
        remedy = f"Lower {settings}.learning_rate, or stop earlier with {settings}.max_steps."
    elif rise < -_MOVING and not overfits:
        remedy = f"It still learns: raise {settings}.max_steps."
    direction = "rose" if rise > 0 else "fell"
    sentence = (
        f"The loss of the {stage} {direction} from {fifths[-2]:.4g} in the fourth fifth of training to "
        f"{fifths[-1]:.4g} in the last."
    )
    return Finding(check, None, sentence, remedy)


def waiting_for_data(stage: str, rows: Rows) -> Finding | None:
    """The share of the time that a stage's steps waited for their batches; None where nothing was logged."""
    shares = [row["waiting_for_data"] for row in rows if "waiting_for_data" in row]
    if not shares:
        return None
    share = fmean(shares)
    return Finding(
        "waiting for data",
        None,
        f"The training of the {stage} waited for data {share:.0%} of the time.",
        "The source is slower than the model: convert it once to small pictures in a few Parquet or .npy files, on a "
        "disk of this machine."
        if share > _WAITING
        else None,
    )


def _fifths(values: Sequence[float]) -> list[float]:
    """The means of the five parts of a series of at least five."""
    n = len(values)
    return [fmean(values[part * n // 5 : (part + 1) * n // 5]) for part in range(5)]

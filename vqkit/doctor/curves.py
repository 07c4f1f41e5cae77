"""How a stage's training went: whether it knows its data by heart, was still learning, or waited."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from vqkit.doctor.finding import Finding
from vqkit.doctor.log import FEWEST_ROWS, Rows, fifths

_OVERFIT = {"tokenizer": ("mse", 1.5), "prior": ("nats_per_token", 1.1)}  # validation over train: 2 dB, a tenth more
_MOVING = 0.05  # of the loss's whole fall, over the last fifth of training: beyond the noise of a fifth's mean
_WAITING = 0.2  # share of the time: what a faster source could save at most

# Where a recipe says how a stage is trained.
_SETTINGS = {"tokenizer": "training", "joint": "joint.training", "prior": "prior_training"}


def overfitting(stage: str, rows: Rows, train: Mapping[str, Any], held_out: Mapping[str, Any]) -> Finding | None:
    """A stage's validation number beside the same of the data it was trained on; None where it was not measured, and
    for joint training, whose end is what the tokenizer's number is of."""
    if stage not in _OVERFIT:
        return None
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
    if len(losses) < FEWEST_ROWS:
        return None
    means = fifths(losses)
    rise = (means[-1] - means[-2]) / max(max(losses) - min(means), 1e-12)
    remedy = None
    if rise > _MOVING:
        remedy = f"Lower {settings}.learning_rate, or stop earlier with {settings}.max_steps."
    elif rise < -_MOVING and not overfits:
        remedy = f"It still learns: raise {settings}.max_steps."
    direction = "rose" if rise > 0 else "fell"
    sentence = (
        f"The loss of the {stage} {direction} from {means[-2]:.4g} in the fourth fifth of training to "
        f"{means[-1]:.4g} in the last."
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

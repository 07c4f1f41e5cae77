"""YAML -> the typed parts of a run. A constructor is its config: the keys and their help are made from type hints and
docstrings, defaults live in signatures, and an ablation is a line or two over a `base`."""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from vqkit.autoencoders import Architecture
from vqkit.bottlenecks import Bottleneck
from vqkit.data import BUILT_IN
from vqkit.likelihoods import Reconstruction
from vqkit.modality import Modality
from vqkit.priors import Prior
from vqkit.signal import Layout
from vqkit.training import Training

_FAMILIES: dict[str, type] = {
    "modality": Modality,
    "tokenizer": Architecture,
    "tokenizer.bottleneck": Bottleneck,
    "tokenizer.likelihood": Reconstruction,
    "prior": Prior,
}
"""Where a recipe has which parts."""
_SHIPPED = Path(__file__).parent / "recipes"
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "a list"}


@dataclass
class Joint:
    """A stage in which the trained tokenizer goes on learning, now with the rate of its tokens in its loss, under a
    prior that learns along; that of the run is trained afterwards. Codes that become rare are not revived in it.

    Args:
        prior: the one that learns along, null for one like the recipe's own. LearnedUnigramPrior is the cheapest.
        rate_weight: of the rate, -log p(indices) in nats; 1 is that of the evidence lower bound. Of stages that others
            refine nats weigh more, where a quantizer says so (`UniformScalarQuantizer.rate_weights`).
        temperature: of the soft assignments through which the encoder is told the rate.
        training: how both are trained.
    """

    prior: Callable[[Layout], Prior] | None = None
    rate_weight: float = 1.0
    temperature: float = 1.0
    training: Training = field(default_factory=Training)


@dataclass
class Recipe:
    """All that makes a run, but the folder it goes to.

    Args:
        data: SOURCE of the samples: a built-in name (digits, shapes), a file, a folder, Parquet, or hf://owner/name.
        modality: how files become tensors, such as Image with its size and channels.
        tokenizer: the autoencoder, but for the data's own shape.
        prior: p(indices), but for the tokenizer's grids and alphabets; null where the tokenizer has no indices.
        training: how the tokenizer is trained.
        joint: a stage of more training with the rate in the loss; null leaves it out.
        prior_training: how the prior is trained, if gradients have to find its best.
        validation_share: held out where the source has no validation split of its own.
    """

    data: str
    modality: Modality
    tokenizer: Architecture
    prior: Callable[[Layout], Prior] | None = None
    training: Training = field(default_factory=Training)
    joint: Joint | None = None
    prior_training: Training = field(default_factory=Training)
    validation_share: float = 0.1


def names() -> list[str]:
    """The recipes that come with vqkit."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def parser() -> ArgumentParser:
    """The keys of a recipe, as command-line options with their help."""
    made = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    made.add_class_arguments(Recipe)
    made.add_argument("--config", action="config", help="YAML on top of the recipe, as often as needed.")
    return made


def arguments(recipe: str) -> list[str]:
    """A recipe's name or file as command-line arguments: its bases first, then itself.

    Raises ValueError where there is no such recipe or it is not YAML.
    """
    return [f"--config={json.dumps(document)}" for document in _chain(recipe, ())]


def _chain(recipe: str, above: tuple[str, ...]) -> list[dict[str, Any]]:
    if recipe in above:
        raise ValueError(f"recipe {recipe} is its own base; remove a base key in {' or '.join(above)}")
    path = Path(recipe)
    if recipe in names():
        text = (_SHIPPED / f"{recipe}.yaml").read_text()
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        text = path.read_text()
    elif path.exists():
        raise ValueError(
            f"{recipe} is no recipe, whose name must end in .yaml; to train on it: vqkit train image --data {recipe}"
        )
    else:
        near = difflib.get_close_matches(recipe, names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"name one of {', '.join(names())}, or a YAML file"
        raise ValueError(f"there is no recipe {recipe}; {hint}")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{recipe} is not YAML ({' '.join(str(error).split())}); mend that line") from None
    if not isinstance(document, dict):
        raise ValueError(f"{recipe} holds no keys; a recipe says at least data, modality and tokenizer")
    base = document.pop("base", None)
    return [*(_chain(base, (*above, recipe)) if base else []), document]


def parse(made: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Raises ValueError in one sentence, which names the nearest key where one is unknown."""
    try:
        parsed = made.parse_args(list(arguments))
    except ArgumentError as error:
        raise ValueError(_sentence(made, str(error))) from None
    if parsed.data not in BUILT_IN and Path(parsed.data).exists():
        parsed.data = str(Path(parsed.data).resolve())  # a run is read from any folder
    return parsed


def _sentence(made: ArgumentParser, message: str) -> str:
    """jsonargparse's message in one sentence; for an unknown key, with the one that was probably meant."""
    unknown = re.search(r"(?:unrecognized arguments: --|[Oo]ption '|nested key '|Key ')([\w.]+)", message)
    if unknown:
        key = unknown.group(1)
        meant = _meant(key, _keys(made))
        if meant in (None, key):  # of the latter there is one, but not in the part that it was given to
            return f"there is no key {key} where it stands; see vqkit train --help for the keys of each part"
        return f"there is no key {key}; did you mean {meant}?"
    if missing := re.search(r"arguments are required: (.+)", message):
        keys = missing.group(1).split(", ")
        keys = [_meant(key, _keys(made)) or key for key in keys]
        options = " ".join(f"--{key} {'SOURCE' if key == 'data' else '...'}" for key in keys)
        return f"the recipe leaves {' and '.join(keys)} open; add {options}"
    if sentence := wrong_value(message):
        return sentence
    if part := re.search(r"Expected a dot import path string: (\w+)", message):
        return f"{part[1]} is no part that can stand where it is named; see vqkit train --help for those that can"
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return " ".join(dict.fromkeys([lines[0], lines[-1]]))  # the key, and the innermost reason


def wrong_value(message: str) -> str | None:
    """jsonargparse's message about a value of another type than its key's in a sentence, None for other messages."""
    keys = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    kinds = [_KINDS[kind] for kind in re.findall(r"Expected a <class '(\w+)'>", message) if kind in _KINDS]
    if choices := re.search(r"Expected a typing\.Literal\[(.*)\]", message):
        kinds = [choices.group(1).replace("'", "").replace(", ", " or ")]
    return f"{keys} is {value.group(1)}; make it {' or '.join(kinds)}" if keys and value and kinds else None


def _keys(made: ArgumentParser) -> list[str]:
    """Every key that a recipe can have, with the path to where it usually stands."""
    found = [action.dest for action in made._actions]
    for path, family in _FAMILIES.items():
        classes: list[type] = [family]
        for cls in classes:
            classes += cls.__subclasses__()
            found += [f"{path}.{name}" for name in inspect.signature(cls).parameters]
    return found


def _meant(key: str, known: Sequence[str]) -> str | None:
    """The known key that one out of its place stands for; of one that is misspelt, its name if no more is told."""
    *_, last = key.split(".")
    by_name: dict[str, str] = {}
    for each in known:
        by_name.setdefault(each.split(".")[-1], each)
    if last in by_name and key not in known:
        return by_name[last]
    wrong = next((part for part in key.split(".") if part not in by_name), key)
    near = difflib.get_close_matches(key, known, 1)
    return next(iter(near or difflib.get_close_matches(wrong, by_name, 1)), None)


def load(config: str) -> Recipe:
    """The recipe of a run's config.yaml text."""
    made = parser()
    return instantiate(made, parse(made, [f"--config={json.dumps(yaml.safe_load(config))}"]))


def instantiate(made: ArgumentParser, parsed: Namespace) -> Recipe:
    """The parts themselves. Raises ValueError where a part refuses its arguments."""
    # Parts such as codebooks draw their first weights here; `Training` refuses a seed that this changes.
    torch.manual_seed(parsed.training.seed % 2**63)
    try:
        parts = made.instantiate(parsed)
    except ValueError as error:  # where a key may be of several types, jsonargparse tells what each of them said
        of_types = re.search(r"^Errors:\n +- (.+)", str(error), re.MULTILINE)
        raise ValueError(of_types[1] if of_types else str(error)) from None
    return Recipe(**{key: parts[key] for key in Recipe.__dataclass_fields__})


def dump(made: ArgumentParser, parsed: Namespace) -> str:
    """The whole configuration as YAML, every default written out."""
    keep = parsed.clone()
    for key in [key for key in vars(keep) if key not in Recipe.__dataclass_fields__]:
        keep.pop(key)
    text: str = made.dump(keep, skip_validation=True)
    return text

"""A folder <-> a model: `config.json` says how to construct it, `model.safetensors` holds its weights. No pickles.

The configuration is read off the model: every configurable class keeps each constructor argument as an attribute of the
same name.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

Model = TypeVar("Model", bound=nn.Module)

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save(model: nn.Module, folder: str | os.PathLike[str], facts: Mapping[str, str] | None = None) -> None:
    """Writes the folder whole or not at all; an older one of that name is replaced. `facts` are kept beside the
    configuration, such as what the model was trained on."""
    folder = Path(folder)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        config = {**config_of(model), "facts": dict(facts or {})}
        (part / _CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, part / _WEIGHTS)
        shutil.copymode(part / _CONFIG, part / _WEIGHTS)  # safetensors would have nobody else read them
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, SafetensorError) and "os error 28" in str(error):  # safetensors tells it as text alone
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / _WEIGHTS)) from error
        raise
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: str | os.PathLike[str], kind: type[Model]) -> Model:
    """The model in eval mode. Raises ValueError where the folder does not hold a whole model of this kind."""
    folder = Path(folder)
    model = build(_config(folder))
    if not isinstance(model, kind):
        raise ValueError(f"{folder} holds a {type(model).__name__}, not a {kind.__name__}; name another folder")
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, FileNotFoundError, RuntimeError) as error:
        reason = " ".join(str(error).split()[:30])
        raise ValueError(
            f"{folder / _WEIGHTS} is damaged or of another model ({reason}); train again or restore it from a copy"
        ) from None
    return model.eval()


def facts(folder: str | os.PathLike[str]) -> dict[str, str]:
    """What was kept beside the configuration."""
    return dict(_config(Path(folder)).get("facts", {}))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text())
        return config
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no model ({_CONFIG} is missing); train one there first") from None
    except ValueError as error:
        raise ValueError(f"{folder / _CONFIG} is damaged ({error}); train again or restore it from a copy") from None


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """16 hex digits that name exactly this configuration and these weights."""
    _config(Path(folder))  # says so where there is no model
    digest = hashlib.sha256()
    for name in (_CONFIG, _WEIGHTS):
        digest.update((Path(folder) / name).read_bytes())
    return digest.hexdigest()[:16]


def config_of(value: Any) -> Any:
    """What JSON says of a model: `{"class_path", "init_args"}` for each object, recursively."""
    if isinstance(value, nn.ModuleList):
        return [config_of(v) for v in value]
    if isinstance(value, nn.Module) or hasattr(value, "_fields"):
        return {"class_path": _public_path(type(value)), "init_args": _arguments(value)}
    if isinstance(value, tuple | list):
        return [config_of(v) for v in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise TypeError(f"a {type(value).__name__} cannot stand in a model's configuration")


def _arguments(value: Any) -> dict[str, Any]:
    parameters = inspect.signature(type(value)).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {name: config_of(getattr(value, name)) for name in named}


def _public_path(cls: type) -> str:
    """`vqkit.nn.ConvEncoder` rather than `vqkit.nn.conv.ConvEncoder`: files may move, public names stay."""
    package = cls.__module__.rpartition(".")[0]
    if package and getattr(importlib.import_module(package), cls.__name__, None) is cls:
        return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def build(config: Any) -> Any:
    """The inverse of `config_of`; weights are as constructed. Lists become tuples."""
    if isinstance(config, list):
        return tuple(build(v) for v in config)
    if not isinstance(config, dict):
        return config
    module, _, name = str(config.get("class_path", "")).rpartition(".")
    # A stranger's file must not choose which code is run.
    if module and module.partition(".")[0] != "vqkit" and module not in sys.modules:
        raise ValueError(f"the configuration names {module}.{name}; import {module} yourself first if you trust it")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"the class {module}.{name} is not known here; install the version that saved it") from None
    if not (isinstance(cls, type) and (issubclass(cls, nn.Module) or hasattr(cls, "_fields"))):
        raise ValueError(f"{module}.{name} is not a model's part; the configuration is damaged")
    arguments = {key: build(value) for key, value in dict(config.get("init_args", {})).items()}
    try:
        return cls(**arguments)
    except TypeError as error:  # an argument too many or too few
        raise ValueError(
            f"{module}.{name} has other arguments here ({error}); install the version that saved it"
        ) from None

"""What makes a command of a verb: flags from its signature, what it prints, its exit status.

Exit status: 0, 1 for a fault of vqkit's own and where a file is damaged and what is left of it is done, 2 for a mistake
in what it was given, 130 where Ctrl-C stopped it.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Told(NamedTuple):
    """What a verb did: `facts` for machines, `text` (anything that rich can print) for people, and `damages`, sentences
    about what could not be done since it is damaged."""

    facts: Any
    text: Any
    damages: Sequence[str] = ()


def status(work: Callable[[], Told], as_json: bool, stopped: str) -> int:
    """Does the work of a verb and prints what it told, or the sentence why it could not; returns the exit status.
    `stopped` says what becomes of what Ctrl-C stops, where the verb itself does not."""
    try:
        told = work()
        _print(told, as_json)
        for damage in told.damages:
            _complain(damage)
        return 1 if told.damages else 0
    except ValueError as error:
        if os.environ.get("VQKIT_TRACEBACK"):  # to look into a mistake that is vqkit's own
            raise
        return _refuse(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _refuse(
                f"the disk is full ({error.filename or 'while writing'}); free some space and run this again"
            )
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            return _refuse(f"{error.filename}: {error.strerror}; name a file or folder that can be used")
        raise
    except KeyboardInterrupt as stop:
        print(f"vqkit: stopped; {str(stop) or stopped}", file=sys.stderr)
        return 130


def call(verb: Callable[..., Told], arguments: Sequence[str]) -> Told:
    """Runs a verb: its parser is made of its signature and docstring. What has no default is positional, and required
    if keyword-only; `*files` takes one or more, and a bool is a flag."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentError, ArgumentParser

    doc = parse_docstring(inspect.getdoc(verb) or "")
    meaning = {parameter.arg_name: parameter.description for parameter in doc.params}
    parameters = inspect.signature(verb).parameters
    files = [name for name, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    flags = [name for name, p in parameters.items() if p.default is False]
    parser = ArgumentParser(
        exit_on_error=False, allow_abbrev=False, prog=f"vqkit {verb.__name__}", description=doc.description
    )
    must = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    parser.add_function_arguments(verb, as_positional=True, as_group=False, skip={*files, *flags, *must})
    for name in must:
        parser.add_argument(f"--{name}", required=True, help=meaning[name])
    for name in files:
        parser.add_argument(name, nargs="+", help=meaning[name])
    for name in flags:
        parser.add_argument(f"--{name}", action="store_true", help=meaning[name])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if "n" in parameters:
        arguments = [re.sub(r"^-n(?==|$)", "--n", argument) for argument in arguments]
    try:
        parsed = parser.parse_args(arguments)
    except ArgumentError as error:
        from vqkit.recipe import wrong_value

        sentence = wrong_value(str(error)) or f"{error}; see vqkit {verb.__name__} --help"
        raise ValueError(sentence) from None
    leading = [parsed[name] for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    rest = [value for name in files for value in parsed[name]]
    return verb(*leading, *rest, **{name: parsed[name] for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY})


def _refuse(sentence: str) -> int:
    _complain(sentence)
    return 2


def _complain(sentence: str) -> None:
    print(f"vqkit: {' '.join(sentence.split())}", file=sys.stderr)


def _print(told: Told, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told.facts, indent=1))
        return
    from rich.console import Console

    Console(soft_wrap=isinstance(told.text, str), highlight=False).print(told.text)

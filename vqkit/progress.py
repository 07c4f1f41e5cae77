"""How far a stage is: a bar on a terminal, lines where nobody sees a bar, such as a log file or a notebook."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

_EVERY = 30.0  # seconds between lines that nobody asked for


class Progress:
    """A bar on stderr or, where that is no terminal, a line at the start, one at most every half minute, and all that
    are to be `told`.

    Args:
        name: what goes on.
        total: how many of `unit` there are to do.
        unit: one of them, in the singular.
        bar: True for a bar anyhow, False for silence; None chooses.
        start: how many are done already.
    """

    def __init__(self, name: str, total: int, unit: str, bar: bool | None = None, start: int = 0) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, start
        shown = sys.stderr.isatty() if bar is None else bar
        self._bar = tqdm(total=total, initial=start, desc=name, unit=unit, dynamic_ncols=True, disable=not shown)
        self._lines = bar is None and not shown
        self._line("")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, count: int = 1, note: str = "", told: bool = False) -> None:
        """So many more are done; `note` says what came of it, and `told` that it is worth a line."""
        self.done += count
        self._bar.update(count)
        if note:
            self._bar.set_postfix_str(note)
        if told or time.monotonic() - self._since > _EVERY:
            self._line(f": {note}" if note else "")

    def close(self) -> None:
        """Nothing more is to come."""
        self._bar.close()

    def _line(self, rest: str) -> None:
        self._since = time.monotonic()
        if self._lines:
            done = f"{self.done:,} of " if self.done else ""
            sys.stderr.write(f"{self.name}: {done}{self.total:,} {self.unit}{'s' * (self.total != 1)}{rest}\n")

"""metrics-STAGE.csv: one row each time that training tells how it goes."""

from __future__ import annotations

import csv
from pathlib import Path


class MetricsFile:
    """Appends rows of named numbers. Opening it drops the rows after `step`: what an interrupted stage wrote after the
    checkpoint that it goes on from."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self._rows = [row for row in read_rows(path) if row["step"] <= step]
        self._columns: list[str] = []
        self._write_anew()

    def append(self, row: dict[str, float]) -> None:
        """One line; where it brings a new column, such as the first validation's, the file is written anew."""
        self._rows.append(row)
        if set(row) <= set(self._columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._write_anew()

    def _write_anew(self) -> None:
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row))
        part = self.path.with_name(self.path.name + ".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)
        part.replace(self.path)


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, without the cells that are empty; none where there is no file. A last line that was
    cut short, by a full disk say, is left out."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({name: float(cell) for name, cell in row.items() if cell})
            except (TypeError, ValueError):
                break
    return [row for row in rows if "step" in row]

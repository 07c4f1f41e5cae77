"""The modules of docs/concepts, which are scripts and on no path, can be imported here."""

from __future__ import annotations

import sys
from pathlib import Path

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts"
sys.path.insert(0, str(CONCEPTS))

"""Numbers and pictures of a run -> one self-contained HTML page."""

from vqkit.report.report import Findings as Findings
from vqkit.report.report import write as write

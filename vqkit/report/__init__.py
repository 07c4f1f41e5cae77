"""Numbers and pictures of a run -> one self-contained HTML page."""

from vqkit.report.findings import Findings as Findings
from vqkit.report.findings import Generation as Generation
from vqkit.report.rate_distortion import rate_distortion_figures as rate_distortion_figures
from vqkit.report.report import write as write

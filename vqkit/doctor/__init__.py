"""What is wrong with a finished run, and what to change: one check for each known way in which training goes astray."""

from vqkit.doctor.diagnose import diagnose as diagnose
from vqkit.doctor.finding import Finding as Finding
from vqkit.doctor.finding import as_text as as_text

"""How a run is made."""

from vqkit.pipeline.findings import report as report
from vqkit.pipeline.make import make as make
from vqkit.pipeline.make import train as train
from vqkit.pipeline.stages import left as left

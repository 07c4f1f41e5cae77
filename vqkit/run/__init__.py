"""A run is a folder: what it holds, and what can be done with that."""

from vqkit.run.compression import compress_files as compress_files
from vqkit.run.compression import make_coder as make_coder
from vqkit.run.decompression import decompress_bare as decompress_bare
from vqkit.run.decompression import decompress_files as decompress_files
from vqkit.run.editing import Kept as Kept
from vqkit.run.files import read_file as read_file
from vqkit.run.files import reconstruct_files as reconstruct_files
from vqkit.run.generation import evaluate_samples as evaluate_samples
from vqkit.run.generation import searched as searched
from vqkit.run.run import EVALUATED as EVALUATED
from vqkit.run.run import SPLITS as SPLITS
from vqkit.run.run import Run as Run
from vqkit.run.run import load as load
from vqkit.run.tokenize import tokenize as tokenize
from vqkit.run.tokenize import tokenize_source as tokenize_source

"""What a model and a prior are worth: fidelity, rate, the bound on the likelihood, how much of the codebook is in use,
and what samples are."""

from vqkit.evaluation.bjontegaard import bd_psnr as bd_psnr
from vqkit.evaluation.bjontegaard import bd_rate as bd_rate
from vqkit.evaluation.classical import CLASSICAL as CLASSICAL
from vqkit.evaluation.classical import ClassicalCodec as ClassicalCodec
from vqkit.evaluation.classical import classical as classical
from vqkit.evaluation.classification import classification_accuracy as classification_accuracy
from vqkit.evaluation.classification import classification_rows as classification_rows
from vqkit.evaluation.codebook import CodebookHealth as CodebookHealth
from vqkit.evaluation.codebook import perplexity as perplexity
from vqkit.evaluation.codebook import usage as usage
from vqkit.evaluation.comparison import Comparison as Comparison
from vqkit.evaluation.comparison import compare as compare
from vqkit.evaluation.evaluate import evaluate as evaluate
from vqkit.evaluation.evidence import Evidence as Evidence
from vqkit.evaluation.fidelity import Fidelity as Fidelity
from vqkit.evaluation.fidelity import psnr as psnr
from vqkit.evaluation.measures import MEASURES as MEASURES
from vqkit.evaluation.measures import Measure as Measure
from vqkit.evaluation.neighbours import MEMORISATION as MEMORISATION
from vqkit.evaluation.neighbours import Neighbours as Neighbours
from vqkit.evaluation.neighbours import memorisation as memorisation
from vqkit.evaluation.neighbours import memorisation_rows as memorisation_rows
from vqkit.evaluation.neighbours import nearest as nearest
from vqkit.evaluation.rate import Rate as Rate
from vqkit.evaluation.rate_distortion import Coded as Coded
from vqkit.evaluation.rate_distortion import PictureCodec as PictureCodec
from vqkit.evaluation.rate_distortion import Point as Point
from vqkit.evaluation.rate_distortion import operating_point as operating_point
from vqkit.evaluation.table import GENERATION as GENERATION
from vqkit.evaluation.table import rows as rows
from vqkit.evaluation.table import splits as splits
from vqkit.evaluation.table import table as table

"""p(indices | side): what tokens cost, and where new ones come from."""

from vqkit.priors.base import Prior as Prior
from vqkit.priors.base import Step as Step
from vqkit.priors.base import Walk as Walk
from vqkit.priors.draw import AS_LEARNED as AS_LEARNED
from vqkit.priors.draw import Choice as Choice
from vqkit.priors.draw_then_discard import draw_then_discard as draw_then_discard
from vqkit.priors.independent import IndependentPrior as IndependentPrior
from vqkit.priors.learned_unigram import LearnedUnigramPrior as LearnedUnigramPrior
from vqkit.priors.masked import MaskedTransformerPrior as MaskedTransformerPrior
from vqkit.priors.next_scale import NextScalePrior as NextScalePrior
from vqkit.priors.pixelcnn import PixelCNN as PixelCNN
from vqkit.priors.stack import Stack as Stack
from vqkit.priors.successive_refinement import SuccessiveRefinementPrior as SuccessiveRefinementPrior
from vqkit.priors.transformer import TransformerPrior as TransformerPrior
from vqkit.priors.uniform import UniformPrior as UniformPrior
from vqkit.priors.unigram import UnigramPrior as UnigramPrior
from vqkit.priors.walk import drive as drive
from vqkit.priors.walk import part_of_walk as part_of_walk
from vqkit.priors.walk import sample as sample
from vqkit.priors.walk import score as score
from vqkit.priors.wavenet import WaveNet as WaveNet

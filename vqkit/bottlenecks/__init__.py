"""z_e -> z: everything that stands between an encoder and a decoder. Each can be used alone, in any network."""

from vqkit.bottlenecks.base import Bottleneck as Bottleneck
from vqkit.bottlenecks.base import Latent as Latent
from vqkit.bottlenecks.base import Quantizer as Quantizer
from vqkit.bottlenecks.estimators import Estimator as Estimator
from vqkit.bottlenecks.estimators import RotationTrick as RotationTrick
from vqkit.bottlenecks.estimators import StraightThrough as StraightThrough
from vqkit.bottlenecks.identity import Identity as Identity
from vqkit.bottlenecks.search import nearest_code as nearest_code
from vqkit.bottlenecks.vector import EMAVectorQuantizer as EMAVectorQuantizer
from vqkit.bottlenecks.vector import VectorQuantizer as VectorQuantizer

"""p(x | parameters), and distortions that are no likelihoods."""

from vqkit.likelihoods.base import LOCATIONS as LOCATIONS
from vqkit.likelihoods.base import Distortion as Distortion
from vqkit.likelihoods.base import Likelihood as Likelihood
from vqkit.likelihoods.base import Reconstruction as Reconstruction
from vqkit.likelihoods.bernoulli import Bernoulli as Bernoulli
from vqkit.likelihoods.categorical import Categorical as Categorical
from vqkit.likelihoods.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from vqkit.likelihoods.density import Density as Density
from vqkit.likelihoods.discretized_density import DiscretizedDensity as DiscretizedDensity
from vqkit.likelihoods.gaussian import Gaussian as Gaussian
from vqkit.likelihoods.l1 import L1 as L1
from vqkit.likelihoods.laplace import Laplace as Laplace
from vqkit.likelihoods.location_scale import LearnedScale as LearnedScale
from vqkit.likelihoods.location_scale import LocationScale as LocationScale
from vqkit.likelihoods.logistic_mixture import LogisticMixture as LogisticMixture
from vqkit.likelihoods.mass import Mass as Mass
from vqkit.likelihoods.multiscale_ssim import MultiscaleSSIM as MultiscaleSSIM
from vqkit.likelihoods.scored import Scored as Scored

"""p(x | parameters)."""

from vqkit.likelihoods.base import Likelihood as Likelihood
from vqkit.likelihoods.categorical import Categorical as Categorical
from vqkit.likelihoods.gaussian import Gaussian as Gaussian

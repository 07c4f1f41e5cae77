"""From an untrained model and a stream of batches to a trained one, by `vqkit.training.fit`."""

from vqkit.training.joint import JointObjective as JointObjective
from vqkit.training.objectives import Objective as Objective
from vqkit.training.objectives import PriorObjective as PriorObjective
from vqkit.training.objectives import TokenizerObjective as TokenizerObjective
from vqkit.training.settings import Training as Training

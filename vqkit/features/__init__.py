"""Networks that are trained beside the models, to look at what these make."""

from vqkit.features.classifier import Accuracy as Accuracy
from vqkit.features.classifier import Classifier as Classifier
from vqkit.features.classifier import accuracy as accuracy
from vqkit.features.supervised import Labelled as Labelled
from vqkit.features.supervised import train_classifier as train_classifier

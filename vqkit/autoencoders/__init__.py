"""Nets, bottlenecks and a decoder, put together."""

from vqkit.autoencoders.architecture import Architecture as Architecture
from vqkit.autoencoders.autoencoder import Autoencoder as Autoencoder
from vqkit.autoencoders.autoencoder import Output as Output
from vqkit.autoencoders.autoregressive import AutoregressiveDecoder as AutoregressiveDecoder
from vqkit.autoencoders.class_conditional import ClassConditionalDecoder as ClassConditionalDecoder
from vqkit.autoencoders.convolutional import Convolutional as Convolutional
from vqkit.autoencoders.decoder import Decoder as Decoder
from vqkit.autoencoders.decoder import FeedForwardDecoder as FeedForwardDecoder
from vqkit.autoencoders.level import DirectLevel as DirectLevel
from vqkit.autoencoders.level import Level as Level
from vqkit.autoencoders.level import ProjectedLevel as ProjectedLevel
from vqkit.autoencoders.level import ResidualLevel as ResidualLevel
from vqkit.autoencoders.lossless import LosslessPrior as LosslessPrior
from vqkit.autoencoders.multiscale import MultiscaleResidual as MultiscaleResidual
from vqkit.autoencoders.pca import PCA as PCA
from vqkit.autoencoders.transform_coding import TransformCoding as TransformCoding
from vqkit.autoencoders.windows import decode_any as decode_any
from vqkit.autoencoders.windows import encode_any as encode_any
from vqkit.autoencoders.windows import grids_of as grids_of
from vqkit.autoencoders.windows import reconstruct_any as reconstruct_any
from vqkit.autoencoders.windows import takes_any_size as takes_any_size

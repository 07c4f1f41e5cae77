"""Blocks for one, two and three grid dimensions."""

from vqkit.nn.conv import ConvDecoder as ConvDecoder
from vqkit.nn.conv import ConvEncoder as ConvEncoder
from vqkit.nn.conv import ResidualStack as ResidualStack
from vqkit.nn.conv import conv as conv
from vqkit.nn.linear import Flatten as Flatten
from vqkit.nn.linear import LinearDecoder as LinearDecoder
from vqkit.nn.precision import exact_float32 as exact_float32
from vqkit.nn.pyramid import AreaPyramid as AreaPyramid
from vqkit.nn.pyramid import Pyramid as Pyramid
from vqkit.nn.pyramid import area as area
from vqkit.nn.pyramid import linear as linear

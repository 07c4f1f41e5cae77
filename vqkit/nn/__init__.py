"""Blocks for one, two and three grid dimensions."""

from vqkit.nn.block_transform import AnalysisTransform as AnalysisTransform
from vqkit.nn.block_transform import SynthesisTransform as SynthesisTransform
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
from vqkit.nn.reach import Reach as Reach
from vqkit.nn.reach import not_local as not_local
from vqkit.nn.reach import reach_of as reach_of
from vqkit.nn.reach import reaches_of as reaches_of
from vqkit.nn.tiling import Tile as Tile
from vqkit.nn.tiling import tiles as tiles

"""Indices <-> bytes: the file, the probabilities, the entropy coder."""

from vqkit.codec.container import Chunk as Chunk
from vqkit.codec.container import Damage as Damage
from vqkit.codec.container import blocks as blocks
from vqkit.codec.container import read as read
from vqkit.codec.container import write as write
from vqkit.codec.header import Header as Header

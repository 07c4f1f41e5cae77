"""Indices <-> bytes: the codec, and the file, the probabilities and the entropy coder under it."""

from vqkit.codec.bare import from_bare as from_bare
from vqkit.codec.bare import to_bare as to_bare
from vqkit.codec.codec import Codec as Codec
from vqkit.codec.codec import Coded as Coded
from vqkit.codec.container import MOST_PAYLOAD as MOST_PAYLOAD
from vqkit.codec.container import Chunk as Chunk
from vqkit.codec.container import Damage as Damage
from vqkit.codec.container import blocks as blocks
from vqkit.codec.container import read as read
from vqkit.codec.container import whole as whole
from vqkit.codec.container import write as write
from vqkit.codec.header import Header as Header
from vqkit.codec.samples import Samples as Samples
from vqkit.codec.samples import check_header as check_header
from vqkit.codec.samples import decode_samples as decode_samples
from vqkit.codec.samples import encode_samples as encode_samples
from vqkit.codec.samples import items_per_chunk as items_per_chunk
from vqkit.codec.windows import Windows as Windows

"""How a number is written, and how a stream that may hold anything is read: never past what was asked, every number
within its bounds before it is used."""

from __future__ import annotations

import zlib
from typing import BinaryIO


def varint(number: int) -> bytes:
    """LEB128: 7 bits a byte, the lowest first, the top bit set on all bytes but the last. Raises ValueError below 0."""
    if number < 0:
        raise ValueError(f"{number} is negative; give a number from 0 on")
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)


class Damaged(ValueError):
    """What is read is not what was written; the message says where, as part of a sentence."""


class Source:
    """A binary stream read from where it stands: `position` counts bytes from there, `crc` is of what was read since it
    was last set.

    Every reader raises Damaged where the stream ends too early.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.position = 0
        self.crc = 0
        self._origin = stream.tell() if stream.seekable() else None

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes, of which the caller has made sure that they are not too many."""
        pieces: list[bytes] = []
        missing = count
        while missing and (piece := self.stream.read(missing)):  # a pipe hands out what it has
            pieces.append(piece)
            missing -= len(piece)
        self.position += count - missing
        if missing:
            raise Damaged(f"the file ends at byte {self.position}, {missing} too early")
        data = b"".join(pieces)
        self.crc = zlib.crc32(data, self.crc)
        return data

    def number(self, name: str, least: int, most: int) -> int:
        """A varint; `name` says of what. Raises Damaged where it is not from `least` to `most`, or longer than it
        needs to be."""
        value, shift, byte = 0, 0, 128
        while byte & 128 and value <= most and shift < 64:
            byte = self.exactly(1)[0]
            value |= (byte & 127) << shift
            shift += 7
        if byte & 128 or not least <= value <= most or (byte == 0 and shift > 7):
            raise Damaged(f"{name} before byte {self.position} is not from {least} to {most}")
        return value

    def checksum(self) -> None:
        """Reads the CRC-32 that closes a part. Raises Damaged where it is not that of what was read."""
        computed = self.crc
        stored = int.from_bytes(self.exactly(4), "little")
        self.crc = computed  # with its own checksum behind it, all data have one and the same CRC-32
        if stored != computed:
            raise Damaged(f"the CRC-32 before byte {self.position} is not that of what it closes")

    def size(self) -> int | None:
        """How many bytes there are in all, None where the stream cannot seek. Stays where it is."""
        if self._origin is None:
            return None
        size = self.stream.seek(0, 2) - self._origin
        self.seek(self.position)
        return size

    def seek(self, position: int) -> None:
        """Goes to a position of a stream that can seek."""
        assert self._origin is not None
        self.stream.seek(self._origin + position)
        self.position = position

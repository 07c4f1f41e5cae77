"""What becomes of the memory that a process frees."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names for what may be set
_LARGEST_KEPT = 1 << 28  # bytes; a buffer above this is the system's again once it is freed


def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, for what it asks for next, and stays as large as it once was.

    A step asks for the same buffers as the one before it. glibc gives large ones back to the system in between, whose
    new pages then cost a training step on a CPU 7 to 10 %. Does nothing with another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, -1)  # never
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)

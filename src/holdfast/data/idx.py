"""The idx format of MNIST: a big-endian header, then bytes.

Format: http://yann.lecun.com/exdb/mnist (two zero bytes, element type, number of axes, then one
32-bit length for each axis). Only element type 8, unsigned bytes, is read.
"""

import math
import struct

import numpy as np

from holdfast.errors import BadInput

UNSIGNED_BYTE = 8


def parse(content: bytes, axes: int, name: str) -> np.ndarray:
    """The array in an unpacked idx file, uint8, with so many axes.

    Raises BadInput naming the file where the magic number, the axes or the length are wrong.
    """
    magic = bytes((0, 0, UNSIGNED_BYTE, axes))
    if content[:4] != magic:
        raise _broken(name, f"magic number {magic.hex()}", content[:4].hex() or "an empty file")
    start = 4 + 4 * axes
    if len(content) < start:
        raise _broken(name, f"a header of {start} bytes", f"{len(content)} bytes")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise _broken(
            name, f"{math.prod(shape)} bytes for shape {list(shape)}", f"{len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def pair(images: bytes, labels: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 1, height, width]` in uint8 and labels `[n]` in int64 of two idx files."""
    x = parse(images, 3, f"{name}-images-idx3-ubyte")[:, None]
    y = parse(labels, 1, f"{name}-labels-idx1-ubyte").astype(np.int64)
    if len(x) != len(y):
        raise _broken(f"{name}-labels-idx1-ubyte", f"{len(x)} labels", f"{len(y)}")
    return x, y


def _broken(name: str, expected: str, got: str) -> BadInput:
    return BadInput(f"expected {expected} in {name}, got {got}; delete the file and fetch it again")

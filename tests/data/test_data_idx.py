"""The idx reader: a known array comes back, and every kind of damage is named."""

import struct

import numpy as np
import pytest

from holdfast.data import idx
from holdfast.errors import BadInput

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GOOD = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))

DAMAGE = {
    "empty": (b"", "an empty file"),
    "magic": (b"\x1f\x8b\x08\x03" + GOOD[4:], "magic number 00000803"),
    "floats": (GOOD[:2] + b"\x0d" + GOOD[3:], "magic number 00000803"),
    "axes": (GOOD[:3] + b"\x01" + GOOD[4:], "magic number 00000803"),
    "header": (GOOD[:10], "a header of 16 bytes"),
    "short": (GOOD[:-1], "24 bytes for shape [2, 3, 4] in some-file, got 23"),
    "long": (GOOD + b"\0", "24 bytes for shape [2, 3, 4] in some-file, got 25"),
}


def test_a_known_array_comes_back():
    np.testing.assert_array_equal(idx.parse(GOOD, 3, "some-file"), ARRAY)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_in_one_line(kind):
    raw, says = DAMAGE[kind]
    with pytest.raises(BadInput) as caught:
        idx.parse(raw, 3, "some-file")
    line = str(caught.value)
    assert says in line and "some-file" in line and "\n" not in line


def test_images_and_labels_must_be_as_many():
    three = struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(3)
    with pytest.raises(BadInput, match="expected 2 labels in train-labels-idx1-ubyte, got 3"):
        idx.pair(GOOD, three, "train")

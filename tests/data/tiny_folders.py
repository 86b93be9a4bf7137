"""Small folders of generated images, and loading them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.errors import BadInput

SIZE = 16


def picture(*key: int, width: int = 21, height: int = 18) -> Image.Image:
    noise = np.random.default_rng(key).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def fill(folder: Path, classes: str, images: int, ending: str = "png") -> None:
    """So many images, all different, for each class, named by a letter."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(images):
            key = sum(map(ord, folder.name)), ord(name), k
            picture(*key).save(folder / name / f"{k:02d}.{ending}")


def load(root: Path, **options) -> data.Dataset:
    return data.load(f"folder:{root}", **{"size": SIZE, **options})


def refused(root: Path, **options) -> str:
    with pytest.raises(BadInput) as caught:
        load(root, **options)
    line = str(caught.value)
    assert line.startswith("expected ") and "\n" not in line and "; " in line
    return line

"""ImageNet-100: a hundred classes of a folder of ImageNet that the user has.

The classes are those of Tian, Krishnan and Isola, "Contrastive Multiview Coding" (ECCV 2020,
arXiv 1906.05849), by WordNet id, in `imagenet100.txt`.
"""

from importlib import resources
from pathlib import Path

from holdfast.data.folders import Tree, read_tree
from holdfast.errors import BadInput

NAME = "imagenet100"
PARTS = ("train", "val")


def synsets() -> tuple[str, ...]:
    """The hundred WordNet ids, in the order of their labels."""
    text = resources.files("holdfast.data").joinpath("imagenet100.txt").read_text()
    return tuple(sorted(text.split()))


def imagenet(root: Path) -> Path:
    """Where ImageNet's train and val are: the root itself, or the folder imagenet in it."""
    return root if all((root / part).is_dir() for part in PARTS) else root / "imagenet"


def missing(root: Path) -> list[str]:
    """The class folders that are not there, such as `train/n01440764`."""
    wanted = [f"{part}/{synset}" for part in PARTS for synset in synsets()]
    return [name for name in wanted if not (imagenet(root) / name).is_dir()]


def imagenet100(root: Path) -> Tree:
    """The files of the hundred classes; val is the test split. Raises BadInput where some lack."""
    gone = missing(root)
    if gone:
        raise BadInput(
            f"expected the folders train and val of ImageNet with 100 classes of {NAME} each in "
            f"{imagenet(root)}, got {len(gone)} of 200 missing, first {gone[0]}; put them there "
            "or name another folder with --data-root"
        )
    return read_tree(imagenet(root), parts=PARTS, only=synsets())

"""What the commands on a trained run share: its checkpoint, its data, some of its images."""

from functools import partial
from pathlib import Path
from typing import get_args

from holdfast import data as datasets
from holdfast import model as models
from holdfast import record
from holdfast.cli import show
from holdfast.cli.words import Options
from holdfast.errors import BadInput, choose
from holdfast.types import Norm


def network(o: Options) -> models.Network:
    """The model of the checkpoint. Raises BadInput where the run has others, but not this one."""
    return models.load(_checkpoint(Path(o["run"]), o["checkpoint"]), architecture=o["model"])


def data(o: Options, card: models.Card) -> datasets.Dataset:
    """What was asked for, else the run's own; images of any size in the size of the model.

    Raises BadInput for data that the model was not made for.
    """
    name = o["data"] or card.data or ""
    size = card.image[1] if datasets.resizable(name) else None
    with show.progress(o["json"]) as (bar, _):
        tick = partial(show.bars(bar), "images")
        found = datasets.load(name, root=o["data_root"], size=size, tick=tick)
    wanted, got = (card.image, card.classes), (found.image, found.classes)
    if wanted != got:
        raise BadInput(f"expected data of images {wanted[0]} and {wanted[1]} classes, got {got}")
    return found


def chosen(split: datasets.Split, images: int) -> datasets.Split:
    """So many of the images, spread evenly over the classes; 0: all."""
    return split.sample(images) if images else split


def _checkpoint(run: Path, name: str) -> Path:
    place = run / "checkpoints"
    there = {path.name: path for path in sorted(place.glob("[!.]*"))}
    return choose(there, name, "a checkpoint") if there else place / name


def budget(o: Options) -> tuple[float, Norm]:
    """What was asked for; else what the run was trained against; else Linf 8/255."""
    config = Path(o["run"]) / "config.yaml"
    settings = record.read_yaml(config) if config.exists() else {}
    trained = settings.get("adversary")
    trained = trained if isinstance(trained, dict) else {}
    radius = o["radius"] if o["radius"] is not None else trained.get("radius", 8 / 255)
    norm = o["norm"] or trained.get("norm", "linf")
    if not isinstance(radius, (int, float)) or norm not in get_args(Norm):
        raise BadInput(
            f"expected a radius and a norm ({', '.join(get_args(Norm))}) in {config}, "
            f"got {radius!r:.60} and {norm!r:.60}; mend the file, or give --radius and --norm"
        )
    return radius, norm

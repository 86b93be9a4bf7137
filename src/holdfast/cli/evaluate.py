"""`holdfast evaluate`: a trained run under attack."""

import dataclasses
import json as jsonlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from holdfast import attack, engine, evaluation, record
from holdfast import data as datasets
from holdfast import model as models
from holdfast.cli import show
from holdfast.cli.choices import Slot, build
from holdfast.cli.options import parse
from holdfast.cli.words import Options
from holdfast.errors import BadInput, choose
from holdfast.types import Attack, Norm

ATTACK = Slot(
    table={"none": None, **attack.ATTACKS},
    default="none",
    skip=frozenset({"radius", "norm", "seed"}),
)


def evaluate_options(
    run: str,
    *,
    suite: str = "quick",
    against: str | None = None,
    checkpoint: str = "best",
    model: str | None = None,
    data: str | None = None,
    data_root: str | None = None,
    split: Literal["train", "validation", "test"] = "test",
    images: int = 1000,
    radius: float | None = None,
    norm: Norm | None = None,
    batch_size: int = 250,
    device: str = "auto",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Attack a trained classifier and say what is left: an upper bound on robust accuracy.

    Rows are added to RUN/evaluation.jsonl, per-image results beside it.

    Args:
        run: run folder written by holdfast train.
        suite: battery of attacks, used unless --attack names one.
        against: another run, whose newest evaluation is compared with this one, image by image.
        checkpoint: best, last, or epoch-NNN.
        model: MODULE:FUNCTION that built the model, where it is your own code.
        data: data set; by default the one of the run. A folder's images get the model's size.
        data_root: folder of the data sets; else HOLDFAST_DATA, else a cache folder.
        split: which images.
        images: how many, spread evenly over the classes; 0: all.
        radius: budget, such as 8/255; by default the run's own adversary's, else 8/255.
        norm: of the budget; by default the run's own adversary's, else linf.
        batch_size: images attacked together; results do not depend on it.
        device: cpu, cuda, ...; auto: the GPU where there is one.
        seed: of random starts.
        json: print the result as JSON.
    """


def evaluate(argv: Sequence[str]) -> None:
    parsed = parse("evaluate", {evaluate_options: frozenset()}, {"attack": ATTACK}, argv)
    o = parsed.values
    run = Path(o["run"])
    model = models.load(_checkpoint(run, o["checkpoint"]), architecture=o["model"])
    data = _data(o, model.card)
    split = _chosen(getattr(data, o["split"]), o["images"])
    radius, norm = _budget(run, o)
    chosen = parsed.slots["attack"]
    one = build(chosen)
    if one is not None:
        one = _within(one, chosen.name, {"radius": radius, "norm": norm, "seed": o["seed"]})
    wanted, got = (model.card.image, model.card.classes), (data.image, data.classes)
    if wanted != got:
        raise BadInput(f"expected data of images {wanted[0]} and {wanted[1]} classes, got {got}")
    other = evaluation.latest(Path(o["against"])) if o["against"] else None
    with show.progress(o["json"]) as (bar, _):
        found = evaluation.evaluate(
            model.to(engine.find_device(o["device"])), split.x, split.y, suite=o["suite"],
            attacks=None if one is None else {chosen.name: one}, radius=radius, norm=norm,
            batch_size=o["batch_size"], index=split.index, seed=o["seed"],
            said=show.bars(bar),
        )  # fmt: skip
    about = {"checkpoint": o["checkpoint"], "split": o["split"], "seed": o["seed"]}
    file = evaluation.save(found, run, split.index, split.y, about)
    compared = evaluation.compare(file, other) if other else {}
    if o["json"]:
        against = {"against": {k: record.plain(c) for k, c in compared.items()}} if other else {}
        print(jsonlib.dumps(found.as_dict() | against))
        return
    about_images = f"{len(split)} {o['split']} images of {data.name}"
    show.table(f"{run}, {about_images}, {norm} radius {radius:.4g}", found.head, found.rows())
    print("What an attack leaves standing is an upper bound on robust accuracy.")
    for name, difference in compared.items():
        print(f"{name}: {difference} against {o['against']}")


def _within(one: Attack, name: str, wanted: Options) -> Attack:
    """The attack with those of these settings that it has. Raises BadInput where it knows another
    norm only."""
    fields = {field.name for field in dataclasses.fields(one)}  # pyright: ignore
    one = attack.resized(one, **{k: value for k, value in wanted.items() if k in fields})
    only = getattr(one, "norm", wanted["norm"])
    if only != wanted["norm"]:
        raise BadInput(
            f"expected --norm {only} for {name}, which knows no other, got {wanted['norm']}; "
            "give a --radius in that norm too"
        )
    return one


def _data(o: Options, card: models.Card) -> datasets.Dataset:
    """What was asked for, else the run's own; images of any size in the size of the model."""
    name = o["data"] or card.data or ""
    size = card.image[1] if datasets.resizable(name) else None
    with show.progress(o["json"]) as (bar, _):
        tick = partial(show.bars(bar), "images")
        return datasets.load(name, root=o["data_root"], size=size, tick=tick)


def _checkpoint(run: Path, name: str) -> Path:
    """The folder of this checkpoint. Raises BadInput where the run has others, but not this one."""
    place = run / "checkpoints"
    there = {path.name: path for path in sorted(place.glob("[!.]*"))}
    return choose(there, name, "a checkpoint") if there else place / name


def _chosen(split: datasets.Split, images: int) -> datasets.Split:
    return split.sample(min(images, len(split))) if images else split


def _budget(run: Path, o: Options) -> tuple[float, Norm]:
    """What was asked for; else what the run was trained against; else Linf 8/255."""
    config = run / "config.yaml"
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

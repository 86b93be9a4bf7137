"""What the commands on a trained run share: its checkpoint, its data, some of its images."""

import hashlib
import json as jsonlib
import logging
import os
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from holdfast import data as datasets
from holdfast import engine, own, record, training
from holdfast import model as models
from holdfast.cli import show
from holdfast.cli.choices import Choice
from holdfast.cli.words import Options
from holdfast.errors import BadInput, choose
from holdfast.model import is_own
from holdfast.types import Norm

log = logging.getLogger("holdfast")
OUTSIDE = {"json", "device", "processes"}  # options that change nothing in what is found


def run_options(
    *,
    checkpoint: str = "best",
    model: str | None = None,
    data: str | None = None,
    data_root: str | None = None,
    split: Literal["train", "validation", "test"] = "test",
    images: int = 1000,
    radius: float | None = None,
    norm: Norm | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
    out: str | None = None,
    json: bool = False,
) -> None:
    """Of every command on a trained run.

    Args:
        checkpoint: best, last, or epoch-NNN; of every run that is named.
        model: MODULE:FUNCTION that built the model, where it is your own code; of runs with several
            of your own, all of them: a:build,b:build, or which for which: runs/one=a:build.
        data: data set; by default the one of the run. A folder's images get the model's size.
        data_root: folder of the data sets; else HOLDFAST_DATA, else a cache folder.
        split: which images.
        images: how many, each class in proportion; 0: all.
        radius: budget, such as 8/255; by default the run's own adversary's, else 8/255.
        norm: of the budget; by default the run's own adversary's, else linf.
        batch_size: images attacked together, by default 100 on a CPU and 1,000 elsewhere; results
            depend on it by rounding alone.
        device: cpu, cuda, ...; auto: the GPU where there is one.
        seed: of everything that is drawn.
        out: folder that gets the results, by default the run folder.
        json: print the result as JSON.
    """


def network(o: Options) -> models.Network:
    """The model of the checkpoint on the device; code of one's own that has changed since is said.
    Raises BadInput where the run has others, but not this one."""
    run = Path(o["run"])
    place = checkpoint(run, o["checkpoint"])
    code = _code(o["model"], models.read_card(place).architecture, run)
    found = models.load(place, architecture=code)
    head = run / record.PROVENANCE
    before = record.read_json(head).get("code") if head.exists() else None
    for name, one in own.digests(code).items():
        if isinstance(before, dict) and before.get(name, one) != one:
            log.warning("the code of %s has changed since %s was trained", name, run)
    return found.to(engine.find_device(o["device"]))


def other(o: Options, run: str, card: models.Card) -> models.Network:
    """The network of another run on the device. Raises BadInput where its images or classes are
    others."""
    place = checkpoint(Path(run), o["checkpoint"])
    built = models.read_card(place).architecture
    code = _code(o["model"], built, Path(run)) if is_own(built) else None
    found = models.load(place, architecture=code)
    wanted, got = (card.image, card.classes), (found.card.image, found.card.classes)
    if wanted != got:
        raise BadInput(
            f"expected a run on images {wanted[0]} and {wanted[1]} classes, as the first, got "
            f"{got[0]} and {got[1]} in {run}; name runs on the same data"
        )
    pairs = zip(card.class_names, found.card.class_names, strict=False)
    if moved := [name for one, name in pairs if one != name and name in card.class_names]:
        raise BadInput(
            f"expected a run on classes in the order of the first, {', '.join(card.class_names)}; "
            f"got '{moved[0]}' at another place in {run}; name runs on the same data"
        )
    return found.to(engine.find_device(o["device"]))


def _code(named: str | None, built: str, run: Path) -> str | None:
    """Which of the user's own functions makes the network of a run, which `built` made: the one
    that was named for that run, `built` where it is among several, or the only one."""
    words = [name.strip().rpartition("=") for name in named.split(",")] if named else []
    for_run = {Path(of): code for of, given, code in words if given}
    names = [code for _, given, code in words if not given]
    if run in for_run or len(names) < 2:
        return for_run.get(run, names[0] if names else None)
    return built if built in names or not is_own(built) else None


def about(o: Options, card: models.Card) -> dict[str, object]:
    """What the rows of a result say of the images and of the network that it is of."""
    asked = {key: o[key] for key in ("checkpoint", "split", "seed")}
    return asked | {"epoch": card.provenance.get("epoch"), "data": o["data"] or card.data}


def distinct(runs: list[str], least: int) -> list[str]:
    """The runs, each once, however its path is spelled. Raises BadInput for too few."""
    found = list({Path(run).resolve(): run for run in runs}.values())
    if len(found) < least:
        wanted = "two runs or more" if least > 1 else "a run"
        raise BadInput(f"expected {wanted}, got {', '.join(found) or 'none'}; name another")
    return found


def several(o: Options) -> dict[str, models.Network]:
    """The networks of all runs by name, each once. Raises BadInput for runs on other data than the
    first."""
    lead, *rest = distinct(o["runs"], 1)
    first = network(o | {"run": lead})
    return {lead: first} | {run: other(o, run, first.card) for run in rest}


def loadable(name: str) -> str:
    """The name of a run's own data. Raises BadInput where that was in memory alone."""
    if not datasets.loadable(name):
        raise BadInput(
            f"expected data that can be loaded again, got a run on '{name}', arrays that Python "
            "was given; numpy.savez them as train_x, train_y, test_x and test_y, and say "
            "--data npz:PATH"
        )
    return name


def data(o: Options, card: models.Card) -> datasets.Dataset:
    """What was asked for, else the run's own; images of any size in the size of the model, their
    classes at the places that they had in training.

    Raises BadInput for data that the model was not made for.
    """
    name = o["data"] or (loadable(card.data) if card.data else "")
    size = card.image[1] if datasets.resizable(name) else None
    with show.progress(o["json"]) as (bar, _):
        found = datasets.load(name, root=o["data_root"], size=size, progress=show.bars(bar))
    if not len(found.train) and found.classes < card.classes:  # nothing says how many there are
        found = replace(found, class_names=tuple(map(str, range(card.classes))))
    found = found.labelled_as(card.class_names) if card.class_names else found
    wanted, got = (card.image, card.classes), (found.image, found.classes)
    if wanted != got:
        raise BadInput(f"expected data of images {wanted[0]} and {wanted[1]} classes, got {got}")
    if _place(found.name) == _place(card.data or ""):
        _require_unchanged(found, Path(o["run"]))
    return found


def _place(name: str) -> str:
    """A data set's name; of files of one's own, however their path is spelled."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).expanduser().resolve()}" if colon else name


def _require_unchanged(found: datasets.Dataset, run: Path) -> None:
    """Raises BadInput where files of the run's own data are others now: its split would be another
    too, and images that it was trained on be taken for new ones."""
    if changed := training.changed_since(run, found):
        raise BadInput(
            f"expected the {changed} of {found.name} that the run was trained on, got others, "
            "of which it may have seen any; put them back, or train anew"
        )


def images(o: Options, card: models.Card) -> tuple[datasets.Split, str]:
    """So many images of the split that was asked for, each class in proportion, 0: all; and what
    to call them. Raises BadInput as `data` does."""
    found = data(o, card)
    split = getattr(found, o["split"])
    if not len(split):
        raise BadInput(
            f"expected {o['split']} images in {found.name}, got none; take another --split"
        )
    split = split.sample(o["images"]) if o["images"] else split
    return split, f"{len(split)} {o['split']} images of {found.name}"


def place(o: Options) -> Path:
    """The folder that gets the results. Raises BadInput where nothing can be written there."""
    folder = Path(o["out"] or o["run"])
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise BadInput(f"expected a folder to write to, got {folder}; name another with --out")
    if (folder / record.CHECKPOINTS).exists() and folder.resolve() != Path(o["run"]).resolve():
        raise BadInput(
            f"expected a folder for the results of {o['run']}, got {folder}, which is another run; "
            "name another with --out"
        )
    return folder


def drafts(
    o: Options, name: str, slots: Mapping[str, Choice], outside: Set[str] = frozenset()
) -> Path:
    """Where a command that is asked in these words keeps what it has finished, until its end.

    outside: options of the command that change nothing in that.
    """
    asked = {key: o[key] for key in sorted(o.keys() - OUTSIDE - outside)}
    asked |= {key: [choice.name, choice.options] for key, choice in slots.items()}
    key = hashlib.sha256(jsonlib.dumps(record.plain(asked)).encode()).hexdigest()[:8]
    return place(o) / "drafts" / f"{name}-{key}"


def done(drafts: Path) -> None:
    """Forget what was kept on the way to a result, and the folder of all drafts if it is empty."""
    record.remove(drafts)
    with suppress(OSError):  # of another command, which is not done
        drafts.parent.rmdir()


def checkpoint(run: Path, name: str) -> Path:
    """The folder of a run's checkpoint. Raises BadInput for what is no run."""
    record.recovered(run)
    place = run / record.CHECKPOINTS
    there = {path.name: path for path in sorted(place.glob("[!.]*"))}
    if there:
        return choose(there, name, "a checkpoint")
    got = "a folder without checkpoints" if run.exists() else "no such folder"
    got = (
        "a file; weights become a run by hf.model.save_run (docs/models.md)"
        if run.is_file()
        else got
    )
    if (run / record.REPLACED).exists():
        got += f"; the run that was to be replaced is in {run / record.REPLACED}"
    elif (run / record.CARD).exists():
        got = "a checkpoint; name the run, and the checkpoint with --checkpoint"
    elif inside := sorted(path.parent.name for path in run.glob("*/checkpoints")):
        got = f"a folder of runs: {', '.join(inside[:5])}"
    raise BadInput(f"expected a run folder, got {run}: {got}")


def budget(o: Options) -> tuple[float, Norm]:
    """What was asked for; else what the run was trained against; else Linf 8/255."""
    if o["radius"] is not None and o["norm"]:
        return o["radius"], o["norm"]
    config = Path(o["run"]) / record.CONFIG
    settings = record.read_yaml(config) if config.exists() else {}
    trained = settings.get("adversary")
    trained = trained if isinstance(trained, dict) else {}
    usual = trained.get("norm", "linf")
    norm = o["norm"] or usual
    if o["radius"] is None and norm != usual:
        raise BadInput(f"expected a --radius with --norm {norm}, got none; the usual is of {usual}")
    radius = o["radius"] if o["radius"] is not None else trained.get("radius", 8 / 255)
    if not isinstance(radius, (int, float)) or norm not in get_args(Norm):
        raise BadInput(
            f"expected a radius and a norm ({', '.join(get_args(Norm))}) in {config}, "
            f"got {radius!r:.60} and {norm!r:.60}; mend the file, or give --radius and --norm"
        )
    return radius, norm

"""`holdfast retrain`: boundary feedback, from margins to examples to a retrained run."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast import margin, record, retraining, team, training
from holdfast.cli import runs, show
from holdfast.cli.choices import Choice, Slot, build
from holdfast.cli.margins import DIRECTIONS
from holdfast.cli.options import parse
from holdfast.cli.train import SLOTS as TRAINING
from holdfast.errors import BadInput

log = logging.getLogger("holdfast")
SUPPLIED = frozenset({"model", "data", "out", "force", "seed", "progress", "training"})
TRAINED = frozenset(
    {
        "model",
        "data",
        "out",
        "force",
        "seed",
        "resume",
        "on_step",
        "on_epoch",
        "processes",
        "device",
    }
)
FRONT = ("run", "out", "force", "checkpoint", "model", "data", "data_root", "seed", "json")
OWN = frozenset({"out", "split", "images", "radius", "norm", "batch_size", "device"})
SLOTS = {name: slot for name, slot in TRAINING.items() if name != "model"} | {
    name: Slot(
        table={"probe": retraining.Probe},
        default=record.plain(default),
        inner={margin.Family: DIRECTIONS, **DIRECTIONS.inner},
    )
    for name, default in {"probe": retraining.Probe(), "judge": retraining.JUDGE}.items()
}


def retrain_options(
    run: str,
    *,
    out: str,
    force: bool = False,
) -> None:
    """Retrain a run on examples beyond its decision boundary (feedback learning).

    Margins of training images are measured, examples generated where the class robustness asks for
    them, and the network trained further on those and all training images. A round is undone where
    margins of held-out images along fresh directions did not grow, or clean accuracy fell.

    Args:
        run: run folder written by holdfast train.
        out: run folder of the retrained network; each round is a run folder within it.
        force: replace an existing run folder.
    """


def retrain(argv: Sequence[str]) -> None:
    functions = {
        retrain_options: frozenset(), retraining.retrain: SUPPLIED, training.train: TRAINED,
        runs.run_options: OWN,
    }  # fmt: skip
    parsed = parse("retrain", functions, SLOTS, argv)
    o = dict(parsed.values)
    front = {name: o.pop(name) for name in FRONT}
    if Path(front["run"]).resolve() == Path(front["out"]).resolve():
        raise BadInput(f"expected another folder than the run's for --out, got {front['out']}")
    network = runs.network(front | {"device": o["device"]})
    start = {"start": str(runs.checkpoint(Path(front["run"]), front["checkpoint"]).absolute())}
    network.card = replace(network.card, provenance={**network.card.provenance, **start})
    data = runs.data(front, network.card)
    _warn_of_the_recipe(Path(front["run"]), parsed.slots)
    settings = o | {name: build(choice) for name, choice in parsed.slots.items()}
    with show.progress(front["json"] or not team.leads()) as (bar, _):
        try:
            found = retraining.retrain(
                network, data, **settings, out=front["out"], force=front["force"],
                seed=front["seed"], progress=show.bars(bar),
            )  # fmt: skip
        except (KeyboardInterrupt, OSError) as error:
            if front["force"] and not hasattr(error, "__notes__"):  # its first round is done
                error.add_note("go on with the same words, but for --force")
            raise
    if team.leads():
        _say(found, front)
    if not found.rounds[0].kept:
        raise SystemExit(1)


def _warn_of_the_recipe(run: Path, slots: Mapping[str, Choice]) -> None:
    """Says what the run was trained with, and is not retrained with."""
    config = run / record.CONFIG
    before = record.read_yaml(config) if config.exists() else {}
    for name in ("adversary", "objective"):
        own = before.get(name)
        used = own.get("name") if isinstance(own, dict) else own
        if used and used != slots[name].name:
            log.warning("%s was trained with the %s %s and is retrained with %s; --%s %s keeps it",
                        run, name, used, slots[name].name, name, used)  # fmt: skip


def _say(found: retraining.Retrained, front: Mapping[str, Any]) -> None:
    if front["json"]:
        print(record.as_json({"run": front["out"], "rounds": [r.as_dict() for r in found.rounds]}))
        return
    show.table(f"{front['run']} retrained as {front['out']}", found.as_table())
    if found.rounds[0].kept:
        radius, norm = runs.budget({"run": front["run"], "radius": None, "norm": None})
        run, out = (shlex.quote(str(front[name])) for name in ("run", "out"))
        how = f"{show.model(front['model'])} --radius {radius:.4g} --norm {norm}"
        print(f"next: holdfast evaluate {run}{how}; holdfast evaluate {out}{how} --against {run}")
    else:
        print(f"No round was kept, so {front['out']} is no run: {found.rounds[0].fault}.")

"""`holdfast evaluate`: a trained run under attack."""

import dataclasses
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from holdfast import attack, engine, evaluation, record, team
from holdfast.cli import runs, show
from holdfast.cli.choices import Slot, build
from holdfast.cli.options import parse
from holdfast.cli.words import Options
from holdfast.errors import BadInput
from holdfast.result import Evaluation
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
    reference: bool = False,
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
    processes: int = 1,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Attack a trained classifier and say what is left: an upper bound on robust accuracy.

    Rows are added to RUN/evaluation.jsonl, per-image results beside it. A killed evaluation that
    is started again goes on behind the last attack that it finished.

    Args:
        run: run folder written by holdfast train.
        suite: battery of attacks, used unless --attack names one.
        reference: runs AutoAttack's published code too, where pyautoattack is installed.
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
        processes: that share the images (extra scale).
        seed: of random starts.
        json: print the result as JSON.
    """


def evaluate(argv: Sequence[str]) -> None:
    parsed = parse("evaluate", {evaluate_options: frozenset()}, {"attack": ATTACK}, argv)
    o = parsed.values
    run = Path(o["run"])
    model = runs.network(o)
    data = runs.data(o, model.card)
    split = runs.chosen(getattr(data, o["split"]), o["images"])
    radius, norm = runs.budget(o)
    chosen = parsed.slots["attack"]
    one = build(chosen)
    if one is not None:
        one = _within(one, chosen.name, {"radius": radius, "norm": norm, "seed": o["seed"]})
    other = evaluation.latest(Path(o["against"])) if o["against"] else None
    battles = {chosen.name if one else o["suite"]: {chosen.name: one} if one else None}
    if o["reference"]:
        quoted = evaluation.Reference(radius=radius, norm=norm, seed=o["seed"])
        battles["reference"] = {quoted.name: quoted}
    model = model.to(engine.find_device(o["device"]))
    told = {}
    for name, attacks in battles.items():
        drafts = run / "drafts" / name
        with show.progress(o["json"] or not team.leads()) as (bar, _):
            found = evaluation.evaluate(
                model, split.x, split.y, o["suite"], attacks=attacks, radius=radius, norm=norm,
                batch_size=o["batch_size"], index=split.index, seed=o["seed"], folder=drafts,
                processes=o["processes"], said=show.bars(bar),
            )  # fmt: skip
        if team.leads():
            about = {key: o[key] for key in ("checkpoint", "split", "seed")} | {"battery": name}
            told[name] = found, evaluation.save(found, run, split.index, split.y, about)
            record.remove(drafts)
    if team.leads():
        title = f"{run}, {len(split)} {o['split']} images of {data.name}"
        _say(told, f"{title}, {norm} radius {radius:.4g}", other, o)


def _say(
    told: dict[str, tuple[Evaluation, Path]], title: str, other: Path | None, o: Options
) -> None:
    """The tables, what casts doubt on them, and the comparisons that were asked for."""
    found, file = next(iter(told.values()))
    pairs = {o["against"]: evaluation.compare(file, other)} if other else {}
    if "reference" in told:
        pairs["the reference"] = evaluation.compare(file, told["reference"][1])
    if o["json"]:
        row = found.as_dict()
        if other:
            row["against"] = record.plain(pairs[o["against"]])
        if "reference" in told:
            row["reference"] = told["reference"][0].as_dict()
        print(jsonlib.dumps(row))
        return
    for shown, _ in told.values():
        show.table(title, shown.head, shown.rows())
    print("What an attack leaves standing is an upper bound on robust accuracy.")
    for finding in found.findings:
        print(f"warning: {finding}")
    for against, compared in pairs.items():
        for name, difference in compared.items():
            print(f"{name}: {difference} against {against}")


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

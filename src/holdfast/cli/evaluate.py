"""`holdfast evaluate`: a trained run under attack."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from holdfast import attack, evaluation, record, report, team
from holdfast import data as datasets
from holdfast import model as models
from holdfast.cli import attacks, battery, runs, show
from holdfast.cli.choices import Choice
from holdfast.cli.options import parse
from holdfast.cli.words import Options
from holdfast.errors import BadInput
from holdfast.result import WORST, Evaluation, evaluations
from holdfast.types import Attack, Norm

ATTACK = replace(
    attacks.ATTACK, several="list them in a file for --suite FILE.yaml",
    beside={"--suite": evaluation.SUITES},
)  # fmt: skip
log = logging.getLogger("holdfast")


def evaluate_options(
    run: str,
    *,
    suite: str | None = None,
    against: str | None = None,
    source: list[str] | None = None,
    targeted: bool = False,
    target: int | Literal["least", "most"] | None = None,
    reference: bool = False,
    keep_images: bool = False,
    processes: int = 1,
) -> None:
    """Attack a trained classifier and say what is left: an upper bound on robust accuracy.

    Rows are added to RUN/evaluation.jsonl, per-image results beside it. A killed evaluation that
    is started again goes on behind the last attack that it finished.

    Args:
        run: run folder written by holdfast train.
        suite: battery of attacks: quick (where no --attack is named either), seeds, standard,
            rand, reliable or full; or FILE.yaml with attacks of your choice by name, such as
            pgd-100: {name: pgd, steps: 100}, one with a radius of its own where it states that.
        source: another run on which the images of --attack are made, to be shown to this one; may
            be given several times: then they are made on the mean of the sources' logits.
        targeted: --attack leads each image to a class, its least likely wrong one; whatever an
            image is taken for, it is fooled where it is wrong; how many reached the class is said.
        target: another such class: a number, or most, for the most likely wrong one.
        reference: runs AutoAttack's published code too, where pyautoattack is installed.
        keep_images: the images of each attack are kept with its results, and some of those that
            fell drawn in evaluation-NNN.png beside them.
        against: another run, whose newest evaluation by the same suite or attack, else by any, is
            compared with this one, image by image.
        processes: that share the images (extra scale).
    """


def evaluate(argv: Sequence[str]) -> None:
    parsed = parse(
        "evaluate", {evaluate_options: frozenset(), runs.run_options: frozenset()},
        {"attack": ATTACK}, argv,
    )  # fmt: skip
    o = parsed.values
    run = Path(o["run"])
    model = runs.network(o)
    split, named = runs.images(o, model.card)
    radius, norm = runs.budget(o)
    name, chosen = _battery(parsed.slots["attack"], o, radius, norm, model.card)
    other = _newest(Path(o["against"]), name, radius) if o["against"] else None
    if other:
        evaluation.require_common(other, split.x, split.y, split.index)
    battles = {name: chosen}
    if o["reference"]:
        quoted = evaluation.Reference(radius=radius, norm=norm, seed=o["seed"])
        battles["reference"] = {quoted.name: quoted}
    told = {}
    for called, some in battles.items():
        drafts = runs.drafts(o, called, parsed.slots, {"against", "reference"})
        with show.progress(o["json"] or not team.leads()) as (bar, _):
            found = evaluation.evaluate(
                model, split.x, split.y, None if some else called, attacks=some, radius=radius,
                norm=norm, batch_size=o["batch_size"], index=split.index, seed=o["seed"],
                keep=o["keep_images"], folder=drafts, processes=o["processes"],
                progress=show.bars(bar),
            )  # fmt: skip
        if team.leads():
            about = runs.about(o, model.card) | {"battery": called}
            file = evaluation.save(found, runs.place(o), split.y, index=split.index, about=about)
            told[called] = found, file
            runs.done(drafts)
    if team.leads():
        _say(told, f"{run}, {named}, {norm} radius {radius:.4g}", other, o)
        for found, file in told.values() if o["keep_images"] else ():
            _draw(found, split, file.with_suffix(".png"))


def _draw(found: Evaluation, split: datasets.Split, file: Path) -> None:
    """The first images that fell, as each attack left them, and what they are taken for; said where
    they have no colours to draw."""
    if split.x.shape[1] not in (1, 3):
        log.warning("images of %d channels are kept and not drawn", split.x.shape[1])
        return
    fell = (found.clean.correct & ~found.worst_case.correct).nonzero().flatten()
    rows = (fell if len(fell) else torch.arange(len(split)))[: report.MOST]
    words = {"clean": split.y} | {one.name: one.prediction for one in found.attacks}
    report.images(
        file, split.x[rows],
        {one.name: one.adv[rows] for one in found.attacks if one.adv is not None},
        captions={name: [str(k) for k in of[rows].tolist()] for name, of in words.items()},
    )  # fmt: skip


def _newest(run: Path, battery: str, radius: float) -> Path:
    """The newest evaluation of another run by this suite or attack within this radius, else by it,
    else by any; said where the run has been trained further since."""
    found = evaluations(run, battery, radius) or evaluations(run, battery) or evaluations(run)
    if not found:
        return evaluation.latest(run)
    if since := models.trained_on(run, found[-1][-1]):
        log.warning("%s", since)
    return run / str(found[-1][-1].get("per_image"))


def _battery(
    chosen: Choice, o: Options, radius: float, norm: Norm, card: models.Card
) -> tuple[str, dict[str, Attack] | None]:
    """The attack that was named, led to a class and made on other runs as was asked for; else the
    name of the suite, or the attacks of its file. Raises BadInput."""
    suite = o["suite"] or "quick"
    listed = battery.read(suite, {"--attack": attack.ATTACKS})
    led, sources = o["targeted"] or o["target"] is not None, o["source"] or []
    if chosen.kind is None:
        if led or sources:
            flag = "--source" if sources else "--targeted"
            raise BadInput(f"expected --attack with {flag}, got a suite; name one, such as mim")
        if listed is None:
            return suite, None
        return Path(suite).name, battery.built(listed, radius, norm, o["seed"], suite)
    if o["suite"]:
        raise BadInput(
            f"expected a suite or an attack, got --suite {suite} and --attack {chosen.name}; leave "
            "one out, or run evaluate for each"
        )
    name, one = chosen.name, attacks.named(chosen, radius, norm, o["seed"])
    if led:
        target = "least" if o["target"] is None else o["target"]
        name, one = f"targeted {name}", attack.Targeted(attack=one, target=target)
    if sources:
        source = models.ensemble([runs.other(o, run, card) for run in sources])
        name += " from " + " + ".join(Path(run).resolve().name for run in sources)
        one = attack.Transfer(attack=one, source=source, origin=" + ".join(sources))
    return name, {name: one}


def _say(
    told: dict[str, tuple[Evaluation, Path]], title: str, other: Path | None, o: Options
) -> None:
    """The tables, what casts doubt on them, and the comparisons that were asked for."""
    found, file = next(iter(told.values()))
    pairs = {o["against"]: evaluation.compare(file, other)} if other else {}
    if "reference" in told:
        pairs["the reference"] = {WORST: evaluation.paired(found, told["reference"][0])}
    if o["json"]:
        about = {key: o[key] for key in ("run", "checkpoint", "split", "seed")}
        row = about | {"battery": next(iter(told))} | found.as_dict()
        if other:
            row["against"] = record.plain(pairs[o["against"]])
        if "reference" in told:
            row["reference"] = told["reference"][0].as_dict()
            row["against_reference"] = record.plain(pairs["the reference"])
        print(record.as_json(row))
        return
    for shown, _ in told.values():
        show.table(title, shown.as_table())
        print(*shown.remarks, sep="\n", end="\n" if shown.remarks else "")
    print("What an attack leaves standing is an upper bound on robust accuracy.")
    for finding in found.findings:
        print(f"warning: {finding}")
    for against, compared in pairs.items():
        for name, difference in compared.items():
            print(f"{name}: {difference} against {against}")

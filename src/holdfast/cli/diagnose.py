"""`holdfast diagnose`: whether a trained run's robustness is real."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from holdfast import diagnosis, record, report
from holdfast.cli import attacks, runs, show
from holdfast.cli.options import parse
from holdfast.result import Table, Word
from holdfast.types import Norm

FIRED = 3  # exit code where --fail-on did
OWN = frozenset({"norm"})


def diagnose_options(
    run: str,
    *,
    twin: str | None = None,
    quick: bool = False,
    fail_on: Literal["nothing", "masking", "doubt"] = "nothing",
    norm: Norm | None = None,
) -> None:
    """Look for gradient masking: signs with their evidence, and a verdict in one line.

    The diagnosis is written to RUN/findings.json and added to RUN/diagnosis.jsonl; entropy.png
    shows how sure the policy is of clean, attacked and noisy images. A killed one that is started
    again goes on behind the last attack that it finished.

    Args:
        run: run folder written by holdfast train.
        twin: run of the same classes without the defence, whose images are tried on this one,
            and whose gradients are compared with this one's.
        quick: fewer images, steps and queries: about an eighth of the cost.
        fail_on: masking: exit code 3 where a sign of masking fires; doubt: there, and where the
            claim is merely weak, so that a better attack of the same kind finds more.
        norm: of the budget, linf or l2; by default the run's own adversary's, else linf.
    """


def diagnose(argv: Sequence[str]) -> None:
    parsed = parse(
        "diagnose", {diagnose_options: frozenset(), runs.run_options: OWN},
        {"claim": attacks.ATTACK}, argv,
    )  # fmt: skip
    o, claim = parsed.values, parsed.slots["claim"]
    run = Path(o["run"])
    network = runs.network(o)
    split, named = runs.images(o, network.card)
    radius, norm = runs.budget(o)
    twin = runs.other(o, o["twin"], network.card) if o["twin"] else None
    drafts = runs.drafts(o, "diagnosis", parsed.slots, {"fail_on"})
    claimed = attacks.named(claim, radius, norm, o["seed"]) if claim.kind else None
    with show.progress(o["json"]) as (bar, _):
        found = diagnosis.diagnose(
            network, split.x, split.y, radius=radius, norm=norm, claim=claimed, twin=twin,
            depth=diagnosis.QUICK if o["quick"] else diagnosis.DEFAULT,
            batch_size=o["batch_size"], index=split.index, seed=o["seed"], folder=drafts,
            progress=show.bars(bar),
        )  # fmt: skip
    about = runs.about(o, network.card) | {"quick": o["quick"], "twin": o["twin"]}
    about |= {"radius": radius, "norm": norm}
    place = runs.place(o)
    row = found.save(place, about)
    _draw(found, place, f"{run}")
    runs.done(drafts)
    if o["json"]:
        print(record.as_json(row))
    else:
        _say(found, f"{run}, {named}, {norm} radius {radius:.4g}")
        if o["quick"]:
            print("A quick look, at few images and queries: without --quick more may be found.")
    doubted = found.masked or found.word == Word.WEAK
    if (o["fail_on"] == "masking" and found.masked) or (o["fail_on"] == "doubt" and doubted):
        raise SystemExit(FIRED)


def _draw(found: diagnosis.Diagnosis, place: Path, title: str) -> None:
    """How sure the policy is of clean, attacked and noisy images, beside the findings."""
    panels = {name: one.histograms() for name, one in found.entropy.items()}
    highest = math.log2(found.entropy["clean"].classes)
    report.histograms(place / "entropy.png", panels, highest, "entropy (bits)", title)


def _say(found: diagnosis.Diagnosis, title: str) -> None:
    """The verdict, the findings, the entropies, what each remedy takes, and the twin beside it."""
    print(title, found.verdict, sep="\n")
    for finding in found.findings:
        print(f"finding: {finding}")
    for name, one in found.entropy.items():
        print(f"entropy, {name}: {one}")
    show.table("Points of accuracy that an attack takes", found.as_table())
    if found.beside:
        body = [
            [name, f"{one.mean:+.3g}", f"{one.low:+.3g} to {one.high:+.3g}", f"{one.p:.2g}",
             str(one.count)]
            for name, one in found.beside.items()
        ]  # fmt: skip
        show.table(
            "This run less the other", Table(("", "mean", "95 % interval", "p", "images"), body)
        )

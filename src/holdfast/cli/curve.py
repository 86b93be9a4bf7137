"""`holdfast curve`: accuracy over budgets, of one run or of several."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from holdfast import evaluation, record, report
from holdfast.cli import battery, runs, show, words
from holdfast.cli.options import parse
from holdfast.errors import BadInput
from holdfast.evaluation import Curve


def curve_options(
    runs: list[str], *, radii: list[str] | None = None, suite: str = "quick", apart: bool = False
) -> None:
    """Attack trained runs anew at each of several radii: accuracy over budgets.

    Any number of runs: holdfast curve RUN RUN ... [options]. A row is added to each RUN's
    curve.jsonl, and the lines of all are drawn in the first one's curve.png. Data and norm are
    those of the first run where none are given. A killed curve that is started again goes on behind
    the last attack that it finished.

    Args:
        runs: run folders written by holdfast train.
        radii: budgets, as in --radii 2/255,4/255; by default a quarter, a half, three quarters,
            the whole and one and a half of --radius.
        suite: battery of attacks that is run at each, or FILE.yaml with attacks by name.
        apart: a curve for each attack too, by itself; for suites that are no cascade.
    """


SHARES = (0.25, 0.5, 0.75, 1.0, 1.5)


def curve(argv: Sequence[str]) -> None:
    parsed = parse("curve", {curve_options: frozenset(), runs.run_options: frozenset()}, {}, argv)
    o = parsed.values
    listed = battery.read(o["suite"])
    battery.require_open(listed or {})
    if o["radii"] and o["radius"] is not None:
        raise BadInput("expected --radii or --radius, got both; leave one out")
    networks = runs.several(o)
    o |= {"run": next(iter(networks))}
    split, named = runs.images(o, networks[o["run"]].card)
    asked = [words.budget(one) for some in o["radii"] or [] for one in some.split(",")]
    radius, norm = runs.budget(o | {"radius": max(asked)} if asked else o)
    radii = asked or [share * radius for share in SHARES]
    suite = (
        partial(battery.built, listed, norm=norm, seed=o["seed"], file=o["suite"])
        if listed
        else o["suite"]
    )
    found, drafts = {}, {}
    for run, network in networks.items():
        drafts[run] = runs.drafts(o | {"run": run}, "curve", {}, {"runs", "radii", "radius"})
        with show.progress(o["json"]) as (bar, _):
            found[run] = evaluation.curve(
                network, split.x, split.y, radii, suite, norm=norm, apart=o["apart"],
                batch_size=o["batch_size"], index=split.index, seed=o["seed"], folder=drafts[run],
                progress=show.bars(bar),
            )  # fmt: skip
    title = f"{named}, {norm}, suite {o['suite']}"
    _say(found, title, o["json"])
    report.budgets(runs.place(o) / "curve.png", {k: v.as_dict() for k, v in found.items()}, title)
    for run, one in found.items():
        about = runs.about(o, networks[run].card) | {"suite": Path(o["suite"]).name, "run": run}
        one.save(runs.place(o | {"run": run}), about)
        runs.done(drafts[run])


def _say(found: dict[str, Curve], title: str, json: bool) -> None:
    if json:
        print(record.as_json({run: one.as_dict() for run, one in found.items()}))
        return
    for run, one in found.items():
        show.table(f"{run}, {title}", one.as_table())
        for finding in one.findings:
            print(f"warning: {finding}")
    print("What an attack leaves standing is an upper bound on robust accuracy.")

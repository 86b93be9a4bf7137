"""`holdfast margins`: how far images are from the decision boundary along many directions."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from holdfast import margin, own, record, report, team
from holdfast.cli import attacks, runs, show
from holdfast.cli.choices import Slot, build
from holdfast.cli.options import asked, parse
from holdfast.loss import LossName

SUPPLIED = frozenset({"model", "x", "y", "index", "folder", "progress"})
OWN = frozenset({"images", "radius", "norm", "batch_size", "seed"})
DIRECTIONS = Slot(
    table=margin.FAMILIES,
    default="orthonormal",
    find=partial(own.factory_of, what="directions", call=("model", "x", "y", "index", "seed")),
    others=("MODULE:NAME",),
    inner={LossName: attacks.LOSS},
)
SLOTS = {
    "directions": DIRECTIONS,
    "method": Slot(table=margin.METHODS, default="traced"),
}


def margins_options(
    run: str,
    *,
    images: int = 100,
) -> None:
    """Measure how far images are from the decision boundary along many directions.

    Every ray is written to RUN/margins/margins.safetensors, the measures to matrix.json, the mean
    margin matrix to matrix.png; what an earlier search left there moves to RUN/margins-NNN. A
    killed search that is started again goes on behind its last finished piece.

    Args:
        run: run folder written by holdfast train.
        images: how many, each class in proportion; 0: all.
    """


def margins(argv: Sequence[str]) -> None:
    functions = {margins_options: frozenset(), margin.search: SUPPLIED, runs.run_options: OWN}
    parsed = parse("margins", functions, SLOTS, argv)
    o = parsed.values
    network = runs.network(o)
    split, named = runs.images(o, network.card)
    about = runs.about(o, network.card) | {"reference": o["reference"]}
    settings = asked(margin.search, o, SUPPLIED)
    folder, drafts = runs.place(o) / "margins", runs.drafts(o, "margins", parsed.slots)
    chosen = {name: build(choice) for name, choice in parsed.slots.items()}
    with show.progress(o["json"] or not team.leads()) as (bar, _):
        found = margin.search(
            network, split.x, split.y, **settings, **chosen, index=split.index,
            folder=drafts, progress=show.bars(bar),
        )  # fmt: skip
    if team.leads():
        with record.locked(folder, wait=True):
            earlier = record.set_aside(folder)
            margin.save(found, folder, split.y, about | {"directions": chosen["directions"]})
            report.heat(folder / "matrix.png", {o["run"]: found.matrix()}, "Mean margin matrix")
        runs.done(drafts)
        _say(found, f"{o['run']}, {named}", earlier, o["json"])


def _say(found: margin.Margins, title: str, earlier: Path | None, json: bool) -> None:
    if json:
        print(record.as_json(found.as_dict()))
        return
    level, near = found.interval(margin.robustness), found.audit.interval
    print(f"{title}, {found.distance[0].numel()} rays each", found.table(), sep="\n")
    print(
        f"{found.none_share():.1%} of rays meet no other class within {found.grid.reach:g} "
        f"({found.grid.scale}); they count as that.\n"
        f"Robustness R = {found.robustness():.3f} ({level.low:.3f} to {level.high:.3f}, 95 % over "
        "images)."
    )
    if found.audit.rays:
        print(
            f"Audit: {found.audit.differing} of {found.audit.rays} rays that were searched again "
            f"step by step came out otherwise (up to {near.high:.2%} of all)."
        )
    show.moved(earlier)

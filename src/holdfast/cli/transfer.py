"""`holdfast transfer`: which run's adversarial images fool which other run."""

from collections.abc import Sequence
from dataclasses import replace

from holdfast import evaluation, record
from holdfast.cli import attacks, runs, show
from holdfast.cli.options import parse
from holdfast.cli.words import Options

ATTACK = replace(
    attacks.ATTACK, table={k: v for k, v in attacks.ATTACK.table.items() if v}, default="mim"
)


def transfer_options(runs: list[str]) -> None:
    """Attack each of several trained runs, and show the images to all of them.

    Any number of runs: holdfast transfer RUN RUN ... [options]. Every share is an upper bound on
    what a run would keep. A row is added to FIRST/transfer.jsonl; data and budget are those of the
    first run where none are given.

    Args:
        runs: run folders written by holdfast train, two or more.
    """


def transfer(argv: Sequence[str]) -> None:
    parsed = parse(
        "transfer", {transfer_options: frozenset(), runs.run_options: frozenset()},
        {"attack": ATTACK}, argv,
    )  # fmt: skip
    o = parsed.values
    runs.distinct(o["runs"], 2)
    networks = runs.several(o)
    o: Options = o | {"run": next(iter(networks))}
    split, named = runs.images(o, networks[o["run"]].card)
    radius, norm = runs.budget(o)
    place = runs.place(o)
    one = attacks.named(parsed.slots["attack"], radius, norm, o["seed"])
    with show.progress(o["json"]) as (bar, _):
        found = evaluation.transfer_matrix(
            networks, split.x, split.y, one, radius=radius, norm=norm, batch_size=o["batch_size"],
            index=split.index, progress=show.bars(bar),
        )  # fmt: skip
    row = found.save(place, runs.about(o, networks[o["run"]].card))
    if o["json"]:
        print(record.as_json(row))
        return
    print(f"{named}, {norm} radius {radius:.4g}")
    print(found.table(), "What is left is an upper bound on robust accuracy.", sep="\n")

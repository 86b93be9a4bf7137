"""`holdfast table`: what attacks left of several runs, beside what was set otherwise in each."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from holdfast import record, report
from holdfast.cli.options import parse
from holdfast.cli.words import Options
from holdfast.errors import BadInput


def table_options(
    runs: list[str],
    *,
    suite: str | None = None,
    every: bool = False,
    over_seeds: bool = False,
    interval: bool = False,
    against: str | None = None,
    form: Literal["text", "markdown", "latex", "csv"] = "text",
    json: bool = False,
) -> None:
    """Put the newest evaluations of several runs side by side, accuracies in per cent.

    Any number of runs: holdfast table RUN RUN ... [options]. Columns are the settings in which
    the runs or their evaluations differ, then what each attack left. Nothing is written.

    Args:
        runs: run folders with an evaluation; others are left out, which is said.
        suite: only evaluations by this suite or attack count.
        every: all evaluations of each run, such as those within other budgets, a line each.
        over_seeds: runs that differ in seeds alone become one line, mean ± standard deviation.
        interval: with over_seeds the 95 % interval of the mean by Student's t instead.
        against: with over_seeds a run; the other lines become differences from its line, paired by
            seed where both have the same ones, with their 95 % intervals.
        form: of the table; latex wants the package booktabs.
        json: print every run as JSON, with all its settings, or with over_seeds every line of the
            table; accuracies as shares, as in the form csv.
    """


def table(argv: Sequence[str]) -> None:
    o = parse("table", {table_options: frozenset()}, {}, argv).values
    _require_fitting(o)
    if o["json"] and not o["over_seeds"]:
        found = report.measured(o["runs"], o["suite"], o["every"])
        print(record.as_json([asdict(one) for one in found]))
        return
    found = (
        report.differences(o["runs"], o["against"], suite=o["suite"]) if o["against"] else
        report.summary(o["runs"], suite=o["suite"], over_seeds=o["over_seeds"],
                       interval=o["interval"], every=o["every"])
    )  # fmt: skip
    if o["json"]:
        print(record.as_json(found.rows))
        return
    print(getattr(found, o["form"])(), end="" if o["form"] == "csv" else "\n")


def _require_fitting(o: Options) -> None:
    """Raises BadInput for options that say nothing together."""
    if o["against"] and (o["interval"] or o["every"] or not o["over_seeds"]):
        raise BadInput(
            "expected --against with --over-seeds, and without --every and --interval, which it "
            "gives anyway; two single runs are compared image by image by holdfast compare"
        )
    if o["interval"] and not o["over_seeds"]:
        raise BadInput("expected --interval with --over-seeds, whose intervals they are; add it")

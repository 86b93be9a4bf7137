"""`holdfast demo`: five classifiers, attacked and compared."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from holdfast import record, report
from holdfast.cli import show
from holdfast.cli.options import parse
from holdfast.errors import BadInput
from holdfast.result import Table
from holdfast.study import demo as demonstration


def demo_options(
    *,
    out: str = "runs/demo",
    epochs: int = demonstration.EPOCHS,
    seed: int = 0,
    processes: int = min(2, os.cpu_count() or 1),
    json: bool = False,
) -> None:
    """Train five small classifiers of handwritten digits, attack them, compare: under a minute.

    Args:
        out: folder of the run folders, two figures and a page of HTML.
        epochs: of training, for each.
        seed: of everything random.
        processes: that train classifiers at the same time, with one thread each.
        json: print the result as JSON.
    """


def demo(argv: Sequence[str]) -> None:
    options = parse("demo", {demo_options: frozenset()}, {}, argv).values
    for name in ("epochs", "processes"):
        if options[name] < 1:
            raise BadInput(f"expected {name} of 1 or more, got {options[name]}")
    torch.set_num_threads(1)  # more gain little on so small networks, and stall beside other work
    out, quiet = Path(options["out"]), options["json"]
    plan = demonstration.Plan(out=out, epochs=options["epochs"], seed=options["seed"])
    with show.progress(quiet) as (bar, console):
        task = bar.add_task("demo", total=len(demonstration.ENTRANTS) + 1)

        def said(name: str) -> None:
            bar.update(task, description=name, advance=1)
            if not (quiet or console.is_terminal):
                console.print(f"done: {name}")

        outcomes = demonstration.run(plan, options["processes"], said)
    _say(outcomes, out, quiet)


def _say(outcomes: list[demonstration.Outcome], out: Path, json: bool) -> None:
    (figure, matrix), radius = (out / name for name in demonstration.FIGURES), demonstration.RADIUS
    title = f"Digits under attack (Linf, radius {radius})"
    matrices = {o.name: o.margins.matrix() for o in outcomes if o.margins}
    report.heat(matrix, matrices, "Mean margin from class to class (digits)")
    report.bars(figure, {o.name: o.accuracies for o in outcomes}, title)
    runs = [demonstration.folder(out, o.name) for o in outcomes]
    page = report.page(runs, out / demonstration.PAGE)
    sentence = demonstration.verdict(outcomes)
    if json:
        rows = [{"name": o.name, "seconds": o.seconds} | o.evaluation.as_dict() for o in outcomes]
        print(record.as_json({"classifiers": rows, "verdict": sentence, "figure": str(figure),
                              "page": str(page)}))  # fmt: skip
        return
    cells = [
        [o.name, *(f"{v:.1%}" for v in o.accuracies.values()), f"{o.evaluation.entropy:.2f} bits",
         f"{o.seconds:.1f}"] for o in outcomes
    ]  # fmt: skip
    head = ["classifier", "clean", "FGSM", "PGD-20", "entropy", "train s"]
    show.table(title, Table(head, cells))
    print(
        f"{sentence}\nRun folders, {figure.name} and {matrix.name} are in {out}; all of it: {page}"
    )

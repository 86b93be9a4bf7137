"""Whole suites on trained runs, beside AutoAttack's published code.

    python recipes/battery.py runs/mnist-pgd --suites seeds standard --reference
    python recipes/battery.py runs/mnist-pgd --suites reliable --images 10000
    python recipes/battery.py runs/mnist-pgd --attack holdfast.evaluation:Reference
    python recipes/battery.py runs/mnist-pgd --compare standard holdfast.evaluation:Reference

What `holdfast evaluate` says of each run and suite, per attack, becomes a row of
results/battery.jsonl; the reference, which sees the same images, has a row of its own, and may be
run alone where the suite has its rows. `--compare` runs nothing: it sets the worst cases of a run's
two newest evaluations by these names beside each other, image by image; its row goes to
results/battery-pairs.jsonl. Finished attacks are kept in the run folder: called again
after a kill, an evaluation goes on behind them.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from holdfast import evaluation, record
from holdfast.cli import main
from holdfast.evaluation.compare import standing as standing_of

parser = argparse.ArgumentParser(description="Suites on trained runs")
parser.add_argument("runs", nargs="+", type=Path)
parser.add_argument("--suites", nargs="+", default=["seeds", "standard"])
parser.add_argument("--attack", help="one attack in the place of suites")
parser.add_argument("--reference", action="store_true", help="beside the last suite")
parser.add_argument("--compare", nargs=2, help="evaluations of the run, by suite or attack")
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()


def standing(run: Path, battery: str) -> dict[int, bool]:
    """Which images the newest evaluation by this battery left standing, by their positions."""
    rows = [r for r in record.rows(run / "evaluation.jsonl") if r["battery"] == battery]
    held = load_file(run / rows[-1]["per_image"])
    names = [name.removesuffix(".correct") for name in held if name.endswith(".correct")]
    left = standing_of(held, names)
    return dict(zip(held["index"].tolist(), left.tolist(), strict=True))


def compared(run: Path, names: list[str]) -> record.Row:
    """The paired difference of two batteries on the images that both were shown."""
    one, other = (standing(run, name) for name in names)
    index = sorted(one.keys() & other.keys())
    flags = [torch.tensor([held[place] for place in index]) for held in (one, other)]
    return {"network": run.name, "batteries": names,
            "left": [sum(held.values()) / len(held) for held in (one, other)],
            "difference": record.plain(evaluation.paired(*flags))}  # fmt: skip


torch.set_num_threads(options.threads)
for run in options.runs:
    if options.compare:
        row = record.provenance() | compared(run, options.compare)
        record.append(options.results / "battery-pairs.jsonl", row)
        print(row["difference"])
        continue
    batteries = [["--suite", suite] for suite in options.suites]
    if options.reference:
        batteries[-1].append("--reference")
    for words in [["--attack", options.attack]] if options.attack else batteries:
        known = len(record.rows(run / "evaluation.jsonl"))
        if main(["evaluate", str(run), *words, "--images", str(options.images)]):
            raise SystemExit(2)
        for row in record.rows(run / "evaluation.jsonl")[known:]:
            about = record.provenance(network=run.name, threads=options.threads)
            record.append(options.results / "battery.jsonl", about | row)

"""Whole suites on trained runs, beside AutoAttack's published code.

    python recipes/battery.py runs/mnist-pgd --suites seeds standard --reference
    python recipes/battery.py runs/mnist-pgd --suites reliable --images 10000
    python recipes/battery.py runs/mnist-pgd --attack holdfast.evaluation:Reference

What `holdfast evaluate` says of each run and suite, per attack, becomes a row of
results/battery.jsonl; the reference, which sees the same images, has a row of its own, and may be
run alone where the suite has its rows. Finished attacks are kept in the run folder: called again
after a kill, an evaluation goes on behind them.
"""

import argparse
from pathlib import Path

import torch

from holdfast import record
from holdfast.cli import main

parser = argparse.ArgumentParser(description="Suites on trained runs")
parser.add_argument("runs", nargs="+", type=Path)
parser.add_argument("--suites", nargs="+", default=["seeds", "standard"])
parser.add_argument("--attack", help="one attack in the place of suites")
parser.add_argument("--reference", action="store_true", help="beside the last suite")
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
for run in options.runs:
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

"""Two trained runs under the same attacks, image by image.

    python recipes/paired.py runs/ce runs/reward --suite quick --images 0 --study cifar10-long-pairs

Attacks the last checkpoint of each, and writes what is left of both and their paired differences
(McNemar's test, Newcombe's interval) as a row of results/STUDY.jsonl. A run that is evaluated
already by the suite at its last epoch is not attacked again.
"""

import argparse
from pathlib import Path

from holdfast import evaluation, model, record
from holdfast.cli import main
from holdfast.result import evaluations

parser = argparse.ArgumentParser(description="Two runs, image by image")
parser.add_argument("runs", nargs=2, type=Path)
parser.add_argument("--suite", default="quick")
parser.add_argument("--images", type=int, default=1000, help="of the test split; 0: all")
parser.add_argument("--data-root")
parser.add_argument("--study", default="pairs")
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

told, files = [], []
for run in options.runs:
    epoch = model.read_card(run / "checkpoints" / "last").provenance["epoch"]
    found = evaluations(run, options.suite)
    if not found or found[-1][0]["epoch"] != epoch or found[-1][0]["checkpoint"] != "last":
        words = ["--suite", options.suite, "--images", str(options.images), "--checkpoint", "last"]
        where = ["--data-root", options.data_root] if options.data_root else []
        if main(["evaluate", str(run), *words, *where]):
            raise SystemExit(2)
    file = evaluation.latest(run, options.suite)
    judged = evaluation.load(file)
    left = {"clean": judged.clean, "worst case": judged.worst_case}
    told.append({"run": run.name, "epoch": epoch, "images": len(judged.clean.correct)}
                | {name: [one.accuracy, one.interval.low, one.interval.high]
                   for name, one in left.items()})  # fmt: skip
    files.append(file)
pairs = evaluation.compare(*files)
row = {"suite": options.suite, "runs": told, "difference": record.plain(pairs)}
record.append(options.results / f"{options.study}.jsonl", record.provenance() | row)
for name, one in pairs.items():
    print(f"{name}: {one}")

"""The demonstration's rows and figure for the documentation.

python recipes/demo_rows.py        # results/demo.jsonl, docs/figures/demo.png
"""

import tempfile
from pathlib import Path

from holdfast import record, report
from holdfast.study import demo

with tempfile.TemporaryDirectory() as folder:
    outcomes = demo.run(Path(folder), said=print)
rows = Path("results/demo.jsonl")
for outcome in outcomes:
    row = {"name": outcome.name, "seconds": outcome.seconds, "seed": 0, "epochs": demo.EPOCHS}
    record.append(rows, record.provenance(**row, test=outcome.evaluation.as_dict()))
title = f"Digits under attack (Linf, radius {demo.RADIUS})"
report.bars(Path("docs/figures/demo.png"), {o.name: o.accuracies for o in outcomes}, title)
print(demo.verdict(outcomes))

"""The demonstration's rows and figure for the documentation.

python recipes/demo_rows.py        # results/demo.jsonl, docs/figures/demo.png
"""

import tempfile
from pathlib import Path

from holdfast import record, report
from holdfast.study import demo

with tempfile.TemporaryDirectory() as folder:
    outcomes = demo.run(demo.Plan(out=Path(folder)), processes=2, progress=print)
rows = Path("results/demo.jsonl")
for outcome in outcomes:
    row = {"name": outcome.name, "seconds": outcome.seconds, "seed": 0, "epochs": demo.EPOCHS}
    if outcome.margins:
        row["margins"] = outcome.margins.as_dict()
    record.append(rows, record.provenance(**row, test=outcome.evaluation.as_dict()))
title = f"Digits under attack (Linf, radius {demo.RADIUS})"
report.bars(Path("docs/figures/demo.png"), {o.name: o.accuracies for o in outcomes}, title)
matrices = {o.name: o.margins.matrix() for o in outcomes if o.margins}
report.heat(Path("docs/figures/demo-margins.png"), matrices, "Mean margin from class to class")
print(demo.verdict(outcomes))

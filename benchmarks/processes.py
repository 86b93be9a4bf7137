"""Throughput of one process against several that share each batch.

    python benchmarks/processes.py --data-root DATA --processes 2

Each run is `holdfast train` in a fresh process group, one thread per process: the Gupta CNN on
CIFAR-10, FGSM 8/255, three epochs of 2,000 images, the fastest epoch counts. The runs take turns.
Rows go to results/processes.jsonl.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from holdfast import data, record

parser = argparse.ArgumentParser(description="Throughput of several processes")
parser.add_argument("--data-root")
parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

best: dict[int, float] = {}
with tempfile.TemporaryDirectory() as place:
    part = data.load("cifar10", root=options.data_root).train.sample(2000)
    file = Path(place) / "part.npz"
    np.savez(file, train_x=part.pixels.numpy(), train_y=part.y.numpy(),
             test_x=part.pixels[:100].numpy(), test_y=part.y[:100].numpy())  # fmt: skip
    for turn in range(options.rounds):
        for count in options.processes:
            run = Path(place) / f"{turn}-{count}"
            words = ["train", "--data", f"npz:{file}", "--adversary", "fgsm", "--epochs", "3",
                     "--batch-size", str(options.batch), "--precision", "fp32", "--watch.images",
                     "10", "--processes", str(count), "--out", str(run)]  # fmt: skip
            subprocess.run(
                [sys.executable, "-m", "holdfast", *words], check=True, capture_output=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            fastest = max(row["images_per_second"] for row in record.rows(run / "metrics.jsonl"))
            best[count] = max(best.get(count, 0.0), fastest)

for count, speed in best.items():
    found = {"processes": count, "batch": options.batch, "images_per_second": speed,
             "against_one": speed / best[options.processes[0]]}  # fmt: skip
    record.append(options.results / "processes.jsonl", record.provenance(**found))
    print(found)

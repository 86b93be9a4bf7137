"""How long the search of the papers takes at full size, on every core of this machine.

    python benchmarks/full_search.py RUN --name NAME [--images 1500] [--audit 0.01] [--processes 2]

It is `holdfast margins` in a fresh process group, one thread per process, and the clock of the
wall, so that starting, searching again for the audit, and writing are part of it. The audit's
rays, searched by `linear` too, say how many came out otherwise. One row goes to
results/full-search.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from holdfast import record

parser = argparse.ArgumentParser(description="A full search for margins, by the clock of the wall")
parser.add_argument("run", type=Path)
parser.add_argument("--name", required=True, help="what to call the network")
parser.add_argument("--data-root")
parser.add_argument("--images", type=int, default=1500)
parser.add_argument("--audit", type=float, default=0.01)
parser.add_argument("--processes", type=int, default=os.cpu_count())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

words = ["--images", options.images, "--audit", options.audit, "--processes", options.processes,
         *(["--data-root", options.data_root] if options.data_root else [])]  # fmt: skip
start = time.perf_counter()
done = subprocess.run(
    [sys.executable, "-m", "holdfast", "margins", options.run, *map(str, words), "--json"],
    env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True,
)  # fmt: skip
minutes = (time.perf_counter() - start) / 60
found = json.loads(done.stdout)
row = {"benchmark": "full search", "network": options.name, "minutes": minutes,
       "processes": options.processes, **found}  # fmt: skip
record.append(options.results / "full-search.jsonl", record.provenance(**row))
print(f"{minutes:.1f} minutes")

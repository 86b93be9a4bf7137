"""What a search for margins costs: passes and seconds of four ways to the same result.

    python benchmarks/margins.py CHECKPOINT ... --names NAME ... [--directions 784] [--step 0.02]

The contenders: `naive`, Algorithm 1 as it is written, one point at a time, timed on a few rays and
extrapolated to all of them by passes; `linear`, `screened` and `traced` of holdfast. All search the
same rays of the same test images of each checkpoint's data set, with and without clipping, in
turns over groups of images, so that a busy moment hits all alike. `differing` counts the rays that
came out otherwise than by `linear`, over all rays. One row per checkpoint, clipping and contender
goes to results/margin-speed.jsonl.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from holdfast import data, model, record
from holdfast.margin import Margins, Orthonormal, search
from holdfast.result import wilson

METHODS = ("linear", "screened", "traced")


def naive(network: Callable[[Tensor], Tensor], x: Tensor, truth: Margins, rays: int) -> float:
    """Seconds per pass of Algorithm 1's three loops, on every so manyth ray of one image."""
    vectors = Orthonormal(count=truth.distance.shape[1])(
        network, x, truth.origin, truth.index, 0
    ) * truth.grid.unit(x[0].numel())
    passes, start = 0, time.perf_counter()
    with torch.no_grad():
        for vector in vectors[:: max(1, len(vectors) // rays)]:
            for step in range(1, truth.grid.steps + 1):
                point = x[:1] + step * truth.grid.step * vector
                point = point.clamp(0, 1) if truth.grid.clip else point
                passes += 1
                if network(point).argmax(1) != truth.origin[:1]:
                    break
    return (time.perf_counter() - start) / passes


def compare(network: model.Network, clip: bool, options: argparse.Namespace) -> list[record.Row]:
    """One row per contender, over all groups of images."""
    test = data.load(network.card.data or "", root=options.data_root).test.sample(options.images)
    totals = {name: {"forward": 0, "seconds": 0.0, "differing": 0} for name in METHODS}
    rays, per_pass, crossed = 0, [], 0
    for group in torch.arange(len(test)).split(options.group):
        part = test.only(group)
        found = {
            name: search(
                network, part.x, part.y, index=part.index, method=name, clip=clip, audit=0.0,
                directions=Orthonormal(count=options.directions), reach=options.reach,
                step=options.step, batch_size=options.batch,
            )
            for name in METHODS
        }  # fmt: skip
        truth = found["linear"]
        rays, crossed = rays + truth.step.numel(), crossed + int((truth.entered >= 0).sum())
        per_pass.append(naive(network, part.x, truth, options.naive))
        for name, one in found.items():
            other = (one.step != truth.step) | (one.entered != truth.entered)
            totals[name]["forward"] += one.forward
            totals[name]["seconds"] += one.seconds
            totals[name]["differing"] += int(other.sum())
    forward = totals["linear"]["forward"]
    mean = sum(per_pass) / len(per_pass)
    totals["naive (extrapolated)"] = {"forward": forward, "seconds": mean * forward, "differing": 0}
    about = {"clip": clip, "images": len(test), "rays": rays, "none_share": 1 - crossed / rays}
    return [about | row(name, one, totals["linear"], rays) for name, one in totals.items()]


def row(name: str, one: record.Row, linear: record.Row, rays: int) -> record.Row:
    near = wilson(one["differing"], rays)
    return {"contender": name, **one, "differing_high": near.high,
            "fewer_passes": linear["forward"] / one["forward"],
            "faster": linear["seconds"] / one["seconds"]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Passes and seconds of a search for margins")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--names", nargs="+", required=True, help="what to call the checkpoints")
    parser.add_argument("--data-root")
    parser.add_argument("--directions", type=int, default=784)
    parser.add_argument("--reach", type=float, default=0.5)
    parser.add_argument("--step", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--group", type=int, default=4, help="images searched in one turn")
    parser.add_argument("--naive", type=int, default=10, help="rays of the naive loop")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for path, name in zip(options.checkpoints, options.names, strict=True):
        network = model.load(path).requires_grad_(False)
        for clip in (True, False):
            for found in compare(network, clip, options):
                about = {"benchmark": "margins", "network": name, "directions": options.directions,
                         "reach": options.reach, "step": options.step, "scale": "rms"}  # fmt: skip
                done = about | found | record.provenance()
                record.append(options.results / "margin-speed.jsonl", done)
                print(name, clip, {k: done[k] for k in ("contender", "fewer_passes", "faster",
                      "differing", "rays")}, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

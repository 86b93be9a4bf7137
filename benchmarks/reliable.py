"""The suite `reliable` beside `standard`: what each leaves standing, and for how many passes.

    python benchmarks/reliable.py RUN ... [--images 200] [--scale 1000] [--without square]

Both see the same test images of each run, one suite after the other. One row per run goes to
results/reliable.jsonl: accuracy, passes (forward plus backward) per image of the attacks that use
gradients, and queries per image of those that do not; the difference of the accuracies, reliable
minus standard, with its paired 95 % interval; the share of the passes. `--scale` multiplies the
logits, which masks the gradients of cross-entropy. `--without` leaves attacks out of both suites;
the row says which.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from holdfast import data as datasets
from holdfast import evaluation, model, record
from holdfast.evaluation.suites import Task
from holdfast.result import AttackResult, Evaluation

SUITES = ("standard", "reliable")


class Scaled(torch.nn.Module):
    """The same classifier with larger logits."""

    def __init__(self, body: torch.nn.Module, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.body(x)


def main() -> None:
    parser = argparse.ArgumentParser(description="The suite reliable beside standard")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data-root")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--radius", type=float, default=8 / 255)
    parser.add_argument("--norm", choices=["linf", "l2"], default="linf")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--without", nargs="+", default=[])
    parser.add_argument("--drafts", type=Path, help="folder that keeps finished attacks")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for run in options.runs:
        record.append(options.results / "reliable.jsonl", compared(run, options))


def compared(run: Path, options: argparse.Namespace) -> record.Row:
    """One row: both suites on the best checkpoint of a run."""
    network = model.load(run / "checkpoints" / "best")
    name = network.card.data or ""
    found = {suite: attacked(network, name, suite, options) for suite in SUITES}
    standard, reliable = (found[suite].worst_case.correct for suite in SUITES)
    passes = {suite: cost(found[suite])["passes"] for suite in SUITES}
    difference = evaluation.paired(reliable, standard)
    print(f"{run.name}: {difference}; {passes['reliable'] / passes['standard']:.1%} of the passes")
    row = {
        "network": run.name, "data": name, "radius": options.radius, "norm": options.norm,
        "scale": options.scale, "without": options.without,
        "difference": record.plain(difference),
        "share_of_passes": passes["reliable"] / passes["standard"],
    }  # fmt: skip
    return record.provenance() | row | {suite: cost(found[suite]) for suite in SUITES}


def attacked(
    network: model.Network, name: str, suite: str, options: argparse.Namespace
) -> Evaluation:
    data = datasets.load(name, root=options.data_root)
    test = data.test.sample(options.images)
    task = Task(
        radius=options.radius, norm=options.norm, classes=data.classes, pixels=test.x[0].numel()
    )
    attacks = evaluation.SUITES[suite](task).attacks
    found = evaluation.evaluate(
        Scaled(network, options.scale), test.x, test.y, index=test.index, radius=options.radius,
        norm=options.norm, attacks={k: v for k, v in attacks.items() if k not in options.without},
        cascade=True, folder=options.drafts,
    )  # fmt: skip
    print(suite, found.table(), sep="\n", flush=True)
    return found


def cost(found: Evaluation) -> record.Row:
    """Accuracy, passes and queries per image; and for each attack how many it was first to fell."""
    count = len(found.clean.correct)
    spent: dict[bool, list[AttackResult]] = {True: [], False: []}
    for attack in found.attacks:
        spent[attack.backward > 0].append(attack)
    return {
        "clean": found.clean.accuracy, "accuracy": found.worst_case.accuracy,
        "passes": sum(attack.passes for attack in spent[True]) / count,
        "queries": sum(attack.passes for attack in spent[False]) / count,
        "felled": {
            attack.name: first for attack, first in zip(found.attacks, found.first, strict=True)
        },
        "seconds": sum(attack.seconds for attack in found.attacks),
    }  # fmt: skip


if __name__ == "__main__":
    main()

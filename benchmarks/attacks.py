"""What attacks find and what they cost: ours beside those of other libraries.

    python benchmarks/attacks.py CHECKPOINT ... [--images 100] [--attacks pgd-40 cw] [--radius 0.3]

Every contender (`benchmarks/peers.py`) attacks the same test images of each checkpoint, those that
the network gets wrong by itself among them, handed over by our evaluator, which judges what comes
back and counts passes. They take turns batch by batch in one process (the imports do not clash),
so that a busy moment hits all alike. Seconds are those of the processor in this process: waiting
for other processes does not count, and threads add up, so leave `--threads` at 1. All are lent the
model without gradients for its weights, which makes those that would ask for them faster than they
are by themselves.

One row per checkpoint, attack and library goes to results/attack-speed.jsonl: robust accuracy, or
the median l2 distance of the images that were right; forward and backward passes per image, calls
of the model, seconds. `ratio` is the seconds of the fastest peer that is as strong as ours, divided
by ours: its accuracy is higher by half a point or one image at most, or its median by 1 % at most.
Where ours is stronger than all, the strongest take the place of those.
`ratio_passes` is the same of forward plus backward passes, of the peer with the fewest.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor

from holdfast import attack, data, evaluation, model, record
from holdfast.data import Split
from holdfast.evaluation.suites import Task
from holdfast.record import Row
from holdfast.result import Evaluation
from holdfast.types import Attack, Images, Labels, Norm

RADIUS = {"mnist": 0.3}  # of other data 8/255
LONGER = 1.01  # median of an attack that is still as strong as one of median 1


@dataclass(eq=False, kw_only=True)
class Timed:
    """An attack, and the processor seconds and calls of the model that it has taken so far."""

    attack: Attack
    norm: Norm
    minimal: bool
    seconds: float = field(default=0.0, init=False)
    calls: int = field(default=0, init=False)

    def __call__(
        self, model: Any, x: Images, y: Labels, index: Labels, stop: bool = False
    ) -> Images:
        def counted(x: Tensor) -> Tensor:
            self.calls += 1
            return model(x)

        torch.manual_seed(0)
        clock = time.process_time()
        adv = attack.run(self.attack, counted, x, y, index, stop=stop)
        self.seconds += time.process_time() - clock
        return adv


def main() -> None:
    parser = argparse.ArgumentParser(description="Attacks of ours beside those of other libraries")
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoints, or folders of runs")
    parser.add_argument("--names", nargs="+", help="of the networks; else those of the folders")
    parser.add_argument("--attacks", nargs="+", help="else all")
    parser.add_argument("--data-root")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--radius", type=float, help="in linf; else 0.3 on MNIST, 8/255 elsewhere")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = options.names or [_name(path) for path in options.checkpoints]
    for name, path in zip(names, options.checkpoints, strict=True):
        best = path / "checkpoints" / "best"
        network = model.load(best if best.exists() else path)
        for row in compared(network, options):
            record.append(
                options.results / "attack-speed.jsonl",
                record.provenance() | {"benchmark": "attacks", "network": name} | row,
            )


def _name(path: Path) -> str:
    """That of the run, of a checkpoint in its folder."""
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.name


def compared(network: model.Network, options: argparse.Namespace) -> Iterator[Row]:
    """A row for each attack and library, on the best checkpoint of a run."""
    name = network.card.data or ""
    whole = data.load(name, root=options.data_root)
    test = whole.test.sample(options.images)
    radius = options.radius or RADIUS.get(name, 8 / 255)
    task = Task(radius=radius, norm="linf", classes=whole.classes, pixels=test.x[0].numel())
    about = {"data": name, "batch": options.batch, "radius": radius}
    for title, contenders in peers.contenders(task).items():
        if title not in (options.attacks or [title]):
            continue
        found = fought(network, test, contenders, title in peers.MINIMAL, options, radius)
        for library, row in found.items():
            print(title, library, {k: v for k, v in row.items() if v is not None}, flush=True)
            yield about | {"attack": title, "library": library} | row


def fought(
    network: model.Network, test: Split, contenders: dict[str, peers.Battery], minimal: bool,
    options: argparse.Namespace, radius: float,
) -> dict[str, Row]:  # fmt: skip
    """One attack by all libraries that have it, in turns batch by batch. Ours is handed what our
    evaluator makes of the network; the others, as it cannot look into a function, what they would
    be handed anywhere: the network itself."""
    network.requires_grad_(False)
    norm: Norm = "l2" if minimal else "linf"
    timed = {
        library: {
            key: Timed(attack=one, norm=norm, minimal=minimal or getattr(one, "minimal", False))
            for key, one in battery.items()
        }
        for library, battery in contenders.items()
    }
    found: dict[str, list[Evaluation]] = {library: [] for library in contenders}
    warm = test.only(torch.arange(min(options.batch, len(test))))
    attack.FGSM()(network, warm.x, warm.y)
    for rows in torch.arange(len(test)).split(options.batch):
        part = test.only(rows)
        for library, battery in timed.items():
            found[library].append(
                evaluation.evaluate(
                    network if library == "holdfast" else lambda x: network(x), part.x, part.y,
                    attacks=battery, cascade=len(battery) > 1,
                    radius=radius, norm=norm, index=part.index, batch_size=len(part),
                )
            )  # fmt: skip
    rows = {
        library: summed(found[library], [*timed[library].values()], minimal) for library in found
    }
    return with_ratios(rows)


def summed(found: list[Evaluation], battery: list[Timed], minimal: bool) -> Row:
    """What one contender left of all batches, and what it cost; judging costs it nothing.

    minimal: it is the distance that counts, not the accuracy.
    """
    standing = torch.cat([part.worst_case.correct for part in found])
    every = [one for part in found for one in part.attacks]
    row: Row = {
        "images": len(standing),
        "accuracy": standing.double().mean().item(),
        "refused": sum(one.refused for one in every),
        "forward": sum(one.forward for one in every) / len(standing),
        "backward": sum(one.backward for one in every) / len(standing),
        "calls": sum(timed.calls for timed in battery),
        "seconds": sum(timed.seconds for timed in battery),
    }
    if minimal:
        distance = torch.cat([part.attacks[0].distance[part.clean.correct] for part in found])
        median = distance.sort().values[len(distance) // 2].item()
        row |= {"accuracy": None, "median": median if math.isfinite(median) else None}
    return row


def with_ratios(rows: dict[str, Row]) -> dict[str, Row]:
    """The rows, with how much more the cheapest peer took than ours: of those as strong as ours, or
    of those as strong as the strongest peer where ours is stronger than all."""
    ours = rows["holdfast"]
    rivals = [row for library, row in rows.items() if library != "holdfast"]
    if rivals:
        bar = max(aim(ours), min(map(aim, rivals)))
        equal = [row for row in rivals if aim(row) <= allowed(bar, ours)]
        ours["ratio"] = min(row["seconds"] for row in equal) / ours["seconds"]
        ours["ratio_passes"] = min(map(passes, equal)) / passes(ours)
    return rows


def aim(row: Row) -> float:
    """What an attack makes small: the accuracy, or the median distance."""
    if row["accuracy"] is not None:
        return row["accuracy"]
    return math.inf if row["median"] is None else row["median"]


def allowed(bar: float, like: Row) -> float:
    """Up to where strength counts as equal: half a point or one image, or 1 % of the distance."""
    if like["accuracy"] is not None:
        return bar + max(0.005, 1 / like["images"])
    return LONGER * bar


def passes(row: Row) -> float:
    return row["forward"] + row["backward"]


if __name__ == "__main__":
    main()

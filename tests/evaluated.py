"""Run folders whose evaluation is known."""

from pathlib import Path
from typing import Any

import torch

from holdfast import evaluation, record
from holdfast.result import AttackResult, Evaluation, Standing

CE = {"name": "ce", "smoothing": 0.0}
REWARD = {"name": "reward", "samples": 8, "reward": {"name": "signed", "wrong": -1.0}, "seed": 0}
PGD: dict[str, Any] = {"name": "pgd", "steps": 20, "seed": 0}


def run(
    name: str, standing: int, attack: record.Row = PGD, battery: str | None = "quick",
    radius: float = 0.1, refused: int = 0, **config: Any,
) -> str:  # fmt: skip
    """A run folder of this configuration whose attack left so many of ten images standing."""
    flags = torch.arange(10) < standing
    one = AttackResult(
        correct=flags, name=attack["name"], settings=attack, norm="linf", radius=radius,
        distance=torch.where(flags, torch.inf, radius / 2), refused=refused, forward=1, backward=1,
        seconds=1.0,
        prediction=(~flags).long(), target=torch.full((10,), -1),
    )  # fmt: skip
    found = Evaluation(
        clean=Standing(correct=torch.arange(10) < 9), attacks=(one,), entropy=0.0,
        adv=torch.zeros(10, 1), norm="linf", radius=radius,
    )  # fmt: skip
    about = (
        {"battery": battery, "checkpoint": "best", "split": "test", "seed": 0} if battery else {}
    )
    record.write_yaml(Path(name) / "config.yaml", {"data": "digits", "objective": CE} | config)
    evaluation.save(found, name, torch.zeros(10).long(), about=about)
    return name

"""What `benchmarks/attacks.py` compares: each attack of ours beside that of other libraries.

A battery is one attack, or the four of AutoAttack. Budget, steps, step sizes and queries are the
same for all, but that our C&W, whose searches go on where the last one ended, has three of them and
the others five; whatever else a library's attack has is left at that library's default, which for
torchattacks' Square is a schedule stretched over the queries. What a library lacks, or is known to
do otherwise (torchattacks' AutoAttack and C&W, foolbox's MI-FGSM), is left out. Libraries that
cannot be imported are left out too.
"""

import importlib
import math
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from holdfast import attack, evaluation
from holdfast.evaluation.suites import Task
from holdfast.model import AsModule
from holdfast.types import Attack

Battery = Mapping[str, Attack]
QUERIES, PROBES, TURNS = 1350, 50, 10  # of HopSkipJump: what these turns of foolbox come to


def library(name: str) -> Any:
    """The module of this name, or None where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


if library("visdom") is None:  # adv-lib's plots, which nobody asks for and which no longer build
    sys.modules["visdom"] = ModuleType("visdom")
foolbox = library("foolbox")
torchattacks = library("torchattacks")
pyautoattack = library("pyautoattack")
advlib = library("adv_lib.attacks")


def contenders(task: Task) -> dict[str, dict[str, Battery]]:
    """Attack: library: battery, in linf at the task's radius or, for `MINIMAL`, in l2."""
    every = {name: {"holdfast": battery} for name, battery in _ours(task).items()}
    for title, module, theirs in (
        ("foolbox", foolbox, _foolbox), ("torchattacks", torchattacks, _torchattacks),
        ("pyautoattack", pyautoattack, _pyautoattack), ("adv-lib", advlib, _advlib),
    ):  # fmt: skip
        for name, made in (theirs(task.radius) if module else {}).items():
            every[name][title] = {name: made}
    if pyautoattack:
        every["autoattack"]["pyautoattack"] = {"all": evaluation.Reference(radius=task.radius)}
    if foolbox:
        every["hop-skip-jump"]["foolbox, one by one"] = {"all": _one_by_one(_hop_skip_jump)}
    return every


MINIMAL = ("deepfool", "cw", "ddn", "hop-skip-jump")


def _ours(task: Task) -> dict[str, Battery]:
    radius = task.radius
    alone = {
        "fgsm": attack.FGSM(radius=radius),
        "pgd-40": attack.PGD(radius=radius, steps=40, rel_stepsize=0.1),
        "mim-10": attack.MIM(radius=radius, steps=10, rel_stepsize=0.2),
        "apgd-ce": attack.APGD(radius=radius),
        "apgd-t": attack.APGD(radius=radius, loss="dlr", targets=9),
        "fab-t": attack.FAB(radius=radius),
        "square": attack.Square(radius=radius, queries=1000),
        "deepfool": attack.DeepFool(),
        "cw": attack.CW(searches=3, steps=100),
        "ddn": attack.DDN(steps=100),
        "hop-skip-jump": attack.HopSkipJump(queries=QUERIES, probes=PROBES),
    }
    standard = evaluation.SUITES["standard"](task).attacks
    return {name: {name: one} for name, one in alone.items()} | {"autoattack": standard}


def _foolbox(radius: float) -> dict[str, Attack]:
    def box(made: Any) -> Attack:
        def one(model: Any, x: Tensor, y: Tensor) -> Tensor:
            wrapped = foolbox.PyTorchModel(AsModule(model), bounds=(0, 1), device=x.device)
            return made(wrapped, x, y, epsilons=None if minimal(made) else radius)[1]

        return one

    def minimal(made: Any) -> bool:
        return isinstance(made, foolbox.attacks.base.MinimizationAttack)

    of = foolbox.attacks
    return {
        "fgsm": box(of.LinfFastGradientAttack()),
        "pgd-40": box(of.LinfPGD(steps=40, rel_stepsize=0.1)),
        "deepfool": box(of.L2DeepFoolAttack(steps=50)),
        "cw": box(of.L2CarliniWagnerAttack(5, 100, stepsize=0.05, initial_const=0.1)),
        "ddn": box(of.DDNAttack(steps=100)),
        "hop-skip-jump": _hop_skip_jump,
    }


def _hop_skip_jump(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Foolbox's; an image that is wrong already, at which it does not end, is given back."""
    wrapped = foolbox.PyTorchModel(AsModule(model), bounds=(0, 1), device=x.device)
    made = foolbox.attacks.HopSkipJumpAttack(steps=TURNS, initial_gradient_eval_steps=PROBES)
    adv, right = x.clone(), model(x).argmax(1) == y
    if right.any():
        adv[right] = made(wrapped, x[right], y[right], epsilons=None)[1]
    return adv


def _one_by_one(made: Attack) -> Attack:
    def one(model: Any, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([made(model, x[k : k + 1], y[k : k + 1]) for k in range(len(x))])

    return one


def _torchattacks(radius: float) -> dict[str, Attack]:
    def of(name: str, **settings: Any) -> Attack:
        def one(model: Any, x: Tensor, y: Tensor) -> Tensor:
            return getattr(torchattacks, name)(AsModule(model), eps=radius, **settings)(x, y)

        return one

    return {
        "fgsm": of("FGSM"),
        "pgd-40": of("PGD", alpha=radius / 10, steps=40),
        "mim-10": of("MIFGSM", alpha=radius / 5, steps=10),
        "apgd-ce": of("APGD", steps=100),
        "square": of("Square", n_queries=1000),
    }


def _pyautoattack(radius: float) -> dict[str, Attack]:
    def of(module: str, name: str, **settings: Any) -> Attack:
        made = getattr(importlib.import_module(f"pyautoattack.{module}"), name)

        def one(model: Any, x: Tensor, y: Tensor) -> Tensor:
            settled = {"norm": "Linf", "eps": radius, "device": x.device} | settings
            return made(model, **settled).perturb(x, y)

        return one

    return {
        "apgd-ce": of("autopgd_base", "APGDAttack", n_iter=100, loss="ce"),
        "apgd-t": of("autopgd_base", "APGDAttack_targeted", n_iter=100),
        "fab-t": of("fab_pt", "FABAttack_PT", n_iter=100, targeted=True),
        "square": of("square", "SquareAttack", n_queries=1000, p_init=0.8, resc_schedule=False),
    }


def _advlib(radius: float) -> dict[str, Attack]:
    def of(made: Callable[..., Tensor], *placed: Any, **settings: Any) -> Attack:
        return lambda model, x, y: made(AsModule(model), x, y, *placed, **settings)

    searches = {"binary_search_steps": 5, "max_iterations": 100}
    return {
        "pgd-40": of(advlib.pgd_linf, radius, steps=40, relative_step_size=0.1),
        "apgd-ce": of(advlib.apgd, radius, norm=math.inf, loss_function="ce"),
        "apgd-t": of(advlib.apgd_targeted, radius, norm=math.inf, num_targets=9),
        "deepfool": of(advlib.df, steps=50, return_unsuccessful=True),
        "cw": of(advlib.carlini_wagner_l2, learning_rate=0.05, initial_const=0.1, **searches),
        "ddn": of(advlib.ddn, steps=100, levels=None),
    }

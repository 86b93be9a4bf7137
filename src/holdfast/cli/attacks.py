"""The attack that `--attack` names, in the budget that was asked for, and its loss."""

import inspect
from collections.abc import Callable
from functools import partial

from holdfast import attack, loss, own
from holdfast.cli.choices import Choice, Slot, build
from holdfast.errors import BadInput
from holdfast.types import Attack, Norm


def _named_loss(name: str) -> Callable[[], str]:
    def word() -> str:
        return name

    word.__doc__ = loss.NAMED[name].__doc__
    return word


SKIP = frozenset({"radius", "norm", "seed"})
LOSS = Slot(
    table={name: _named_loss(name) for name in loss.NAMED},
    default="ce",
    find=partial(own.factory_of, what="a loss", call=("logits", "y")),
    others=("MODULE:NAME",),
)
ATTACK = Slot(
    table={"none": None, **attack.ATTACKS},
    default="none",
    skip=SKIP,
    find=partial(
        own.factory_of,
        what="an attack",
        call=("model", "x", "y"),
        offered=attack.OPTIONAL_ARGUMENTS,
    ),
    others=("MODULE:NAME",),
    inner={loss.LossName: LOSS},
)


def named(choice: Choice, radius: float, norm: Norm, seed: int) -> Attack:
    """The chosen attack with those of these settings that it has and does not state.

    Raises BadInput where it knows another norm only, or states one without a radius.
    """
    usual = {"radius": radius, "norm": norm, "seed": seed}
    wanted = {name: value for name, value in usual.items() if name not in choice.options}
    if "radius" in wanted and "norm" not in wanted and choice.options["norm"] != norm:
        raise BadInput(
            f"expected a radius beside the norm {choice.options['norm']} of {choice.name}, got "
            f"none; the usual one is of {norm}"
        )
    asked = inspect.signature(choice.kind).parameters if choice.kind else {}
    one = build(choice, **{name: value for name, value in wanted.items() if name in asked})
    later = wanted.keys() & attack.settings_of(one)  # of an object, which was made without them
    one = attack.with_settings(one, **{name: wanted[name] for name in later})
    only = getattr(one, "norm", norm)
    if only != norm and "norm" in wanted:
        raise BadInput(
            f"expected --norm {only} for {choice.name}, which knows no other, got {norm}; "
            "give a --radius in that norm too, and attacks of other norms in a call of their own"
        )
    return one

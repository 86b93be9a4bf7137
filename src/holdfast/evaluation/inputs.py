"""What can be evaluated: images, labels, a model and settings that fit; else one line why not."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any, get_args

from holdfast import own
from holdfast.attack import OPTIONAL_ARGUMENTS
from holdfast.errors import BadInput, require_call, require_value, suggest
from holdfast.geometry import require_radius_in_box
from holdfast.limits import AT_LEAST_0, COUNT, require_range
from holdfast.result import WORST
from holdfast.types import Attack, Norm

log = logging.getLogger("holdfast")


def require_settings(radius: Any, norm: str, batch_size: Any) -> None:
    """Raises BadInput for settings out of range."""
    if radius is None:
        raise BadInput("expected a radius, got None")
    require_range("radius", radius, AT_LEAST_0)
    if norm not in get_args(Norm):
        known = get_args(Norm)
        hint = suggest(str(norm).lower(), known)
        raise BadInput(f"expected a norm out of {', '.join(known)}; got '{norm}'{hint}")
    require_radius_in_box(radius, norm)
    require_range("batch_size", batch_size, COUNT)


def default_radius(norm: str) -> float:
    """8/255 within linf. Raises BadInput for another norm, of which no radius is usual."""
    if norm != "linf":
        raise BadInput(
            f"expected a radius with norm {norm}, got none; give radius=..., 8/255 is usual within "
            "linf alone"
        )
    return 8 / 255


def as_attacks(attacks: Any) -> dict[str, Attack]:
    """Attacks by name.

    Raises BadInput for what is no attack by name, and for a name that is taken.
    """
    if not isinstance(attacks, Mapping):
        raise BadInput(f"expected attacks as a dictionary, name: attack; got {attacks!r:.60}")
    if not attacks:
        raise BadInput("expected one attack or more, got an empty dictionary; leave attacks out "
                       "for the suite `quick`")  # fmt: skip
    made: dict[str, Attack] = {}
    for name, attack in attacks.items():
        if not isinstance(name, str) or not name.isprintable() or not name or name != name.strip():
            raise BadInput(f"expected attacks by names that can be printed, got {name!r:.60}")
        made[name] = as_attack(f"attacks[{name!r}]", attack)
    if taken := {"clean", WORST} & set(attacks):
        raise BadInput(f"expected another name for an attack than {taken.pop()}, which is taken")
    return made


def as_attack(name: str, attack: Any) -> Attack:
    """The attack; of a function whose options all have defaults, a value with those, so that a
    `radius` among them is the budget that it states. Raises BadInput for what is no attack. name:
    of the argument."""
    require_value(name, attack, "attack.PGD(radius=8 / 255)")
    require_call(name, attack, ("model", "x", "y"), OPTIONAL_ARGUMENTS)
    if inspect.isfunction(attack):
        names = inspect.signature(attack).parameters
        if "radius" not in names and (called := {"eps", "epsilon"} & names.keys()):
            log.warning("%s keeps its own %s, which nothing compares with the radius asked for; "
                        "call it radius", name, called.pop())  # fmt: skip
    return own.as_settings(attack, 3, OPTIONAL_ARGUMENTS)

"""What can be evaluated: images, labels, a model and settings that fit; else one line why not."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from holdfast.attack import FILLED
from holdfast.errors import BadInput, require_call, require_value
from holdfast.geometry import require_inside
from holdfast.types import Norm


def require_settings(radius: Any, norm: str, batch_size: int | None) -> None:
    """Raises BadInput for settings out of range."""
    if not isinstance(radius, (int, float)) or not 0 <= radius < math.inf:
        raise BadInput(f"expected a radius of 0 or more, got {radius!r}")
    if norm not in get_args(Norm):
        raise BadInput(f"expected a norm out of {', '.join(get_args(Norm))}; got '{norm}'")
    require_inside(radius, norm)
    if batch_size is not None and batch_size < 1:
        raise BadInput(f"expected a batch_size of 1 or more, got {batch_size}")


def require_attacks(attacks: Any) -> None:
    """Raises BadInput for what is no attack by name, and for a name that is taken."""
    if not isinstance(attacks, Mapping):
        raise BadInput(f"expected attacks as a dictionary, name: attack; got {attacks!r:.60}")
    if not attacks:
        raise BadInput("expected one attack or more, got an empty dictionary; leave attacks out "
                       "for the suite `quick`")  # fmt: skip
    for name, attack in attacks.items():
        require_value(f"attacks[{name!r}]", attack, "attack.PGD(radius=8 / 255)")
        require_call(f"attacks[{name!r}]", attack, ("model", "x", "y"), FILLED)
    if taken := {"clean", "worst case"} & set(attacks):
        raise BadInput(f"expected another name for an attack than {taken.pop()}, which is taken")

"""How an attack is called by whoever was handed one: it gets what it asks for."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from holdfast.errors import BadInput
from holdfast.types import Attack, Classifier, Images, Labels, Note, PerImage

OPTIONAL_ARGUMENTS = ("index", "start", "stop", "note")
"""What `run` hands to an attack that names it."""


def unheard(rows: Labels, queries: Labels, distance: PerImage) -> None:
    """The `note` of an attack that nobody listens to."""


def counts_queries(attack: Attack) -> bool:
    """Whether the attack says after how many queries each image fell."""
    return "note" in inspect.signature(attack).parameters


def run(
    attack: Attack, model: Classifier, x: Images, y: Labels, index: Labels,
    start: Images | None = None, stop: bool = False, note: Note = unheard,
) -> Images:  # fmt: skip
    """The attack's images. One that names a parameter is handed what is meant by it: `index`, the
    positions; `start`, the images from which it may set out, where there are any; `stop`, whether
    an image may rest once it is wrong, which is all that an evaluation asks; `note`, to be told
    after how many queries an image fell."""
    offered = {"index": index, "start": start, "stop": stop, "note": note}
    asked = inspect.signature(attack).parameters
    return attack(model, x, y, **{name: offered[name] for name in offered if name in asked})


def aimed_at(
    attack: Attack, model: Classifier, x: Images, y: Labels, index: Labels
) -> Labels | None:  # fmt: skip
    """The class to which the attack leads each image; None where it leads to none."""
    aimed: Callable[..., Labels | None] | None = getattr(attack, "aimed_at", None)
    return aimed(model, x, y, index) if callable(aimed) else None


def settings_of(attack: Attack) -> set[str]:
    """Names of the settings with which the attack can be had anew; none for a bare function."""
    if isinstance(attack, type) or not dataclasses.is_dataclass(attack):
        return set()
    return {field.name for field in dataclasses.fields(attack)}


def with_settings(attack: Attack, **settings: object) -> Attack:
    """The same attack with other settings; a budget goes to the attack within a wrapper. Raises
    BadInput for one that has none such."""
    unknown = set(settings) - settings_of(attack)
    if "attack" in settings_of(attack) and (within := unknown & {"radius", "norm"}):
        inner: Any = attack
        given = {name: settings.pop(name) for name in within}
        settings["attack"], unknown = with_settings(inner.attack, **given), unknown - within
    if unknown:
        wanted = " and ".join(sorted(unknown))
        raise BadInput(f"expected an attack with a setting {wanted}, got {attack!r:.60}")
    if not settings:
        return attack
    return dataclasses.replace(attack, **settings)  # pyright: ignore


def draws_of(attack: Any) -> int:
    """Passes whose mean gradient each step of an attack, or of the one within it, takes."""
    return draws_of(attack.attack) if hasattr(attack, "attack") else getattr(attack, "draws", 1)


def share_crossed(attack: Any) -> float:
    """The share of its radius that all steps of an attack, or of the one within it, cross together;
    0 where it takes none."""
    if hasattr(attack, "attack"):
        return share_crossed(attack.attack)
    return (getattr(attack, "steps", 0) or 0) * (getattr(attack, "rel_stepsize", 0) or 0)


def inner_setting(wrapper: Any, name: str) -> object:
    """`radius`, `norm` or `minimal` of the attack within a wrapper, its field `attack`.

    Raises AttributeError for any other name, and where the attack does not state it.
    """
    if name not in ("radius", "norm", "minimal"):
        raise AttributeError(name)
    return getattr(wrapper.attack, name)

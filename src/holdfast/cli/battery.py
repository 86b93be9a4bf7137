"""`--suite`: a battery by its name, or attacks of one's own choice in a YAML file."""

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from holdfast.cli import attacks, words
from holdfast.cli.choices import Choice
from holdfast.cli.options import parse
from holdfast.errors import BadInput, choose
from holdfast.evaluation import SUITES
from holdfast.types import Attack, Norm

Battery = Mapping[str, Choice]


def read(suite: str, beside: Mapping[str, Container[str]] = {}) -> Battery | None:
    """The attacks of a file, by the names that they have there; None for a suite of ours.

    In the file each name stands for an attack: for the one of that name where nothing follows, for
    `--attack`'s name, or for a mapping with `name` and the attack's options, among them `radius`,
    `norm` and `seed` where they are not to be those of the command. beside: options of the command
    whose names may be taken for suites. Raises BadInput.
    """
    if not suite.endswith((".yaml", ".yml")):
        choose(SUITES, suite, "a suite (or FILE.yaml)", beside)
        return None
    with _called(suite):
        told = words.file(Path(suite).expanduser())
    if not told:
        raise BadInput(
            f"expected attacks by name in {suite}, got none; such as pgd: {{steps: 100}}"
        )
    return {name: _attack(f"{suite}: {name}", name, value) for name, value in told.items()}


def built(battery: Battery, radius: float, norm: Norm, seed: int, file: str) -> dict[str, Attack]:
    """The attacks, in this budget where they state none; `file` is named where one cannot be made.
    Raises BadInput."""
    made = {}
    for name, one in battery.items():
        with _called(f"{file}: {name}"):
            made[name] = attacks.named(one, radius, norm, seed)
    return made


def require_open(battery: Battery) -> None:
    """Raises BadInput for attacks that state a budget, which a curve is to give them."""
    for name, one in battery.items():
        if stated := {"radius", "norm"} & one.options.keys():
            raise BadInput(
                f"expected {name} without {' and '.join(sorted(stated))}, which the curve gives it"
            )


def _attack(path: str, name: str, value: object) -> Choice:
    said = value if isinstance(value, dict) else {} if value is None else {"name": value}
    if not isinstance(value, (dict, str, type(None))):
        raise BadInput(f"expected {path} as an attack's name or a mapping, got {value!r:.60}")
    if "attack" in said:
        raise BadInput(f"expected {path} with a name, got an attack; say name: {said['attack']}")
    known = {k: v for k, v in attacks.ATTACK.table.items() if v}
    own = replace(attacks.ATTACK, table=known, skip=attacks.ATTACK.skip.difference(said))
    asked = {"attack": {"name": name} | said}
    with _called(path):
        found = parse("evaluate", {_nothing: frozenset()}, {"attack": own}, (), asked)
    return found.slots["attack"]


def _nothing() -> None:
    """An attack of a file, which has no options beside its own."""


@contextmanager
def _called(name: str) -> Iterator[None]:
    """Says of what refuses its settings which attack it is."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None

"""What a run folder says of itself for a table: its settings, and what attacks left of it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput, cause
from holdfast.model import trained_on
from holdfast.result import WORST, evaluations, others

log = logging.getLogger("holdfast")
ABOUT = ("data", "battery", "norm", "radius", "checkpoint", "split", "images")  # of an evaluation
RETRAINED = ("feedback", "probe", "judge", "max_drop", "reuse", "start")  # of the last round
ELSEWHERE = ("device", "processes")  # where a run was made, not how
STARTS = ("weights", "retraining.start")  # checkpoints that a run began with


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """One run: its settings by dotted path, those of its evaluation, and accuracies as shares:
    `clean`, what each attack left, and `worst case`, the least per image, with its interval.

    attacks: the settings of each attack. origin: what trained the weights it began with.
    cascade: attacks were shown what those before them had left.
    """

    run: str
    settings: record.Row
    accuracy: dict[str, float]
    interval: tuple[float, float]
    attacks: record.Row
    origin: str
    cascade: bool

    @property
    def trained(self) -> bool:
        """Whether its settings of training are known: a network of elsewhere has none."""
        return "objective" in self.settings


def measured(
    runs: Sequence[Path | str], suite: str | None = None, every: bool = False
) -> list[Measured]:
    """The newest evaluation of each run that has one, by this suite if one is named; or every one,
    the newest of those alike in all of ABOUT.

    Raises BadInput where none has.
    """
    require_list(runs)
    folders = {Path(run).resolve(): Path(run) for run in runs}.values()
    found = [one for run in folders for one in _measured(run, suite, every)]
    if not found:
        raise BadInput(
            f"expected an evaluation{f' by {suite}' if suite else ''} in "
            f"{', '.join(map(str, runs)) or 'a run'}, got {others(runs, suite)}; run holdfast "
            "evaluate first"
        )
    return found


def require_list(runs: Sequence[Path | str]) -> None:
    """Raises BadInput for a single run in place of a list."""
    if isinstance(runs, (str, Path)):
        raise BadInput(f"expected a list of runs, got {str(runs)!r}; put it into brackets")


def _measured(run: Path, suite: str | None, every: bool) -> list[Measured]:
    """The newest evaluation of a run, or the newest of each kind; none, which is said, where it has
    none."""
    if not run.is_dir():
        raise BadInput(f"expected a run folder, got {run}: no such folder")
    found = evaluations(run, suite)
    if not found:
        log.warning("%s has no evaluation%s: left out", run, f" by {suite}" if suite else "")
        return []
    settings = _settings(run)
    try:
        if not every:
            _warn_of_weaker(run, [row for rows in found for row in rows])
        made = [_told(run, settings, rows) for rows in (found if every else [_newest(run, found)])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"expected whole rows in {run / record.EVALUATIONS}, got one that cannot be read "
            f"({cause(error)}); remove that line"
        ) from None
    kinds = {json.dumps([one.settings[f"evaluation.{k}"] for k in ABOUT]): one for one in made}
    return [one for one in made if one in kinds.values()]


def _newest(run: Path, found: Sequence[list[record.Row]]) -> list[record.Row]:
    """The newest evaluation, passing over those of attacks whose images were refused, which is
    said, where there are others."""
    sound = [rows for rows in found if not any(row.get("refused") for row in rows)]
    if sound and sound[-1] is not found[-1]:
        log.warning("%s: images of the attacks in its newest evaluation were refused, so the one "
                    "before is shown; name the other with --suite to see it", run)  # fmt: skip
    return (sound or found)[-1]


def _told(run: Path, settings: record.Row, rows: Sequence[record.Row]) -> Measured:
    """An evaluation of a run; said where the run has been trained further since."""
    last = rows[-1]
    if since := trained_on(run, last):
        log.warning("%s", since)
    about = {"data": settings.get("data")} | last | last["budget"]
    scores = {"clean": last["clean_accuracy"]} | {row["name"]: row["accuracy"] for row in rows}
    scores |= {WORST: last["worst_case_accuracy"]}
    low, high = last["worst_case_interval"]
    for name, share in scores.items():
        if not isinstance(name, str) or not 0 <= share <= 1:
            raise ValueError(f"an accuracy of {share} under {name}")
    return Measured(
        run=str(run), settings=settings | {f"evaluation.{k}": about.get(k) for k in ABOUT},
        accuracy=scores, interval=(low, high),
        attacks={row["name"]: _flat(row["settings"]) for row in rows},
        origin=json.dumps(_origin(settings)),
        cascade=any(row["attacked"] < row["images"] for row in rows),
    )  # fmt: skip


def _warn_of_weaker(run: Path, rows: Sequence[record.Row]) -> None:
    """Says where an earlier evaluation of the same kind left fewer images than the newest."""
    last = rows[-1]
    same = ("data", "budget", "checkpoint", "epoch", "split", "images")
    alike = [row for row in rows if all(row.get(key) == last.get(key) for key in same)]
    least = min(alike, key=lambda row: row["worst_case_accuracy"])
    if least["worst_case_accuracy"] < last["worst_case_accuracy"]:
        by = [row.get("battery") or "Python" for row in (last, least)]
        log.warning(
            "%s: its newest evaluation, by %s, left %.1f %%, an earlier one by %s %.1f %%%s", run,
            by[0], 100 * last["worst_case_accuracy"], by[1], 100 * least["worst_case_accuracy"],
            "; name that with --suite" if by[0] != by[1] else "",
        )  # fmt: skip


def _settings(run: Path) -> record.Row:
    """What a run was trained and retrained with, by dotted path."""
    config = run / record.CONFIG
    settings = _flat(record.read_yaml(config)) if config.exists() else {}
    if settings.get("adversary") is None:  # then nothing is done by them
        settings = {k: v for k, v in settings.items() if not k.startswith("adversarial.")}
    for row in record.rows(run / record.ROUNDS)[-1:]:
        settings |= _flat({name: row.get(name) for name in RETRAINED}, "retraining.")
    return settings


def _origin(settings: record.Row, seen: tuple[Path, ...] = ()) -> list[record.Row | str | None]:
    """For each checkpoint that a run began with the settings of its run, seeds left out; its path,
    where there are none to be read, or the run began with itself."""
    return [name and _trained(Path(name), seen) for name in map(settings.get, STARTS)]


def _trained(start: Path, seen: tuple[Path, ...]) -> record.Row | str:
    if start in seen or len(start.parents) < 2 or not (settings := _settings(start.parents[1])):
        return str(start)
    left_out = (*STARTS, *ELSEWHERE)
    known = {k: v for k, v in settings.items() if not is_seed(k) and k not in left_out}
    return known | {"origin": _origin(settings, (*seen, start))}


def _flat(value: record.Row, under: str = "") -> record.Row:
    """A mapping of mappings as one, by dotted path; `name` is what its mapping is."""
    flat: record.Row = {}
    for key, one in value.items():
        path = under.removesuffix(".") if under and key == "name" else under + key
        flat |= _flat(one, f"{path}.") if isinstance(one, dict) else {path: one}
    return flat


def is_seed(path: str) -> bool:
    """Whether a setting is a seed."""
    return path.rpartition(".")[2] == "seed"

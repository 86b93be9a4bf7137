"""An evaluation on disk: a row per attack, per-image results beside it."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from holdfast import record
from holdfast.errors import BadInput, cause, require_value
from holdfast.geometry import ORDER
from holdfast.result import (
    IF_ASKED,
    PER_IMAGE,
    AttackResult,
    Evaluation,
    Finding,
    Standing,
    evaluations,
    others,
    rows_of,
)
from holdfast.types import Images, Labels


def latest(run: Path | str, suite: str | None = None, radius: float | None = None) -> Path:
    """The newest per-image results of a run, by this suite or attack, and within this radius, if
    they are given. Raises BadInput where there are none."""
    files = sorted(Path(run).glob("evaluation-*.safetensors"), key=_number)
    if suite is not None or radius is not None:
        named = {rows[0].get("per_image") for rows in evaluations(run, suite, radius)}
        files = [file for file in files if file.name in named]
    if not files:
        within = "" if radius is None else f" within {radius}"
        got = others([run], suite) if Path(run).is_dir() else "no such folder"
        raise BadInput(
            f"expected an evaluation{by(suite)}{within} in {run}, got {got}; run holdfast evaluate "
            f"{run}, or in Python holdfast.evaluation.save"
        )
    return files[-1]


def by(suite: str | None) -> str:
    """By which suite or attack an evaluation is to be, in words."""
    return "" if suite is None else f" by {suite}"


def marks(x: Images) -> Int[Tensor, " batch"]:
    """A fingerprint of each image, in 63 bits: the same on every device and in every batch."""
    rows = x.float().cpu().contiguous().numpy()
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return torch.tensor([int.from_bytes(one, "little") >> 1 for one in digests])


def _number(file: Path) -> int:
    digits = file.stem.removeprefix("evaluation-")
    return int(digits) if digits.isdigit() else 0


def save(
    found: Evaluation, run: Path | str, y: Labels, *, index: Labels | None = None,
    about: Mapping[str, object] | None = None,
) -> Path:  # fmt: skip
    """Add rows to `evaluation.jsonl` and write `evaluation-NNN.safetensors` beside it.

    The tensors are `index` and `y` of the images, `clean.correct`, `adv` (the nearest image of
    another class that was found, the image itself where none was), and for each attack
    `NAME.correct` (bool), `NAME.distance` (pixel units; inf: not fooled), `NAME.prediction` (the
    class that the image returned is taken for) and `NAME.target` (the class it was led to), each
    -1: none, `NAME.budget` (order of the norm, radius), `NAME.settings` (a fingerprint of them, of
    those before it too in a cascade) and, where there are any, `NAME.queries` (-1: never fooled)
    and `NAME.adv` (the images it returned); `budget` is that of the worst case, `marks` tell the
    clean images. Gives their path.

    y: labels of the images. index: their positions in the data set, by which `compare` matches
    images; None: 0, 1, 2, ... about: what else the rows say, such as `suite` (kept as `battery`, by
    which it is found again), `checkpoint`, `split` and `seed`, as those of the command line do.
    Raises BadInput for another number of them.
    """
    run, images = Path(run), len(found.clean.correct)
    index = torch.arange(images) if index is None else index
    for name, value in (("y", y), ("index", index)):
        require_value(name, value, "data.load('digits').test.y", Tensor)
        if len(value) != images:
            raise BadInput(f"expected {name} of the {images} images, got {len(value)}")
    held = {"index": index.cpu(), "y": y.cpu(), "clean.correct": found.clean.correct}
    held |= {"adv": found.adv, "budget": torch.tensor([ORDER[found.norm], found.radius])}
    held |= {} if found.marks is None else {"marks": found.marks}
    for place, attack in enumerate(found.attacks):
        deciding = found.attacks[: place + 1] if found.cascade else [attack]
        tensors = {name: getattr(attack, name) for name in (*PER_IMAGE, *IF_ASKED)} | {
            "settings": _fingerprint([one.settings for one in deciding]),
            "budget": torch.tensor([ORDER[attack.norm], attack.radius]),
        }
        held |= {f"{attack.name}.{key}": one for key, one in tensors.items() if one is not None}
    newest = max(map(_number, run.glob("evaluation-*.safetensors")), default=0)
    free = (run / f"evaluation-{number:03d}.safetensors" for number in itertools.count(newest + 1))
    file = record.write_new(free, safetensors.save({n: t.contiguous() for n, t in held.items()}))
    whole = found.as_dict()
    more = {"battery" if name == "suite" else name: said for name, said in (about or {}).items()}
    shared = {k: v for k, v in whole.items() if k != "attacks"} | record.provenance(**more)
    shared["budget"] = {"norm": found.norm, "radius": found.radius}  # that of the worst case
    rows = [shared | row | {"per_image": file.name} for row in whole["attacks"]]
    try:
        record.append(run / record.EVALUATIONS, *rows)
    except OSError:  # a full disk: tensors without rows would be an evaluation by nothing
        record.remove(file)
        raise
    return file


def load(place: Path | str, suite: str | None = None) -> Evaluation:
    """An evaluation as it was saved: that of a file of per-image results, or the newest of a run,
    by this suite or attack if one is named. Raises BadInput where there is none, or it is damaged.
    """
    require_value("place", place, "evaluation.latest('runs/one')", (str, Path))
    file = latest(place, suite) if Path(place).is_dir() else Path(place)
    held, sheet = read(file), file.parent / record.EVALUATIONS
    rows = rows_of(file, suite)
    names = [name.removesuffix(".correct") for name in held if name.endswith(".correct")]
    if sorted(str(row.get("name")) for row in rows) != sorted({*names} - {"clean"}):
        raise BadInput(
            f"expected a row in {sheet} for each attack of {file.name}{by(suite)}, got "
            f"{', '.join(str(row.get('name')) for row in rows) or 'none'}; evaluate again"
        )
    try:
        first = rows[0]
        found = Evaluation(
            clean=Standing(correct=held["clean.correct"]), adv=held["adv"],
            attacks=tuple(_attack(row, held) for row in rows),
            entropy=math.nan if first["entropy_bits"] is None else first["entropy_bits"],
            norm=first["budget"]["norm"], radius=first["budget"]["radius"],
            cascade=first["cascade"], marks=held.get("marks"),
            findings=tuple(Finding(**one) for one in first["findings"]),
        )  # fmt: skip
        _require_whole(found)
        _require_budgets(found, held)
    except (LookupError, TypeError, ValueError) as error:
        raise BadInput(
            f"expected an evaluation as it is saved in {file} and {sheet}, got another or a "
            f"damaged one ({cause(error)}); evaluate again"
        ) from None
    return found


def _require_whole(found: Evaluation) -> None:
    """Raises ValueError for values that are not of every image, or of another kind."""
    images = len(found.clean.correct)
    for one in found.attacks:
        each = [found.adv, *(getattr(one, name) for name in (*PER_IMAGE, *IF_ASKED))]
        if any(len(some) != images for some in each if some is not None):
            raise ValueError(f"not every image in {one.name}")
        if one.correct.dtype != torch.bool or not isinstance(one.settings, dict):
            raise ValueError(f"no flags or no settings of {one.name}")
        if not isinstance(one.radius, (int, float)):
            raise ValueError(f"no radius of {one.name}")


def _require_budgets(found: Evaluation, held: Mapping[str, Tensor]) -> None:
    """Raises ValueError where a row states another budget than its tensors."""
    stated = {f"{one.name}.budget": (one.norm, one.radius) for one in found.attacks}
    for key, (norm, radius) in (stated | {"budget": (found.norm, found.radius)}).items():
        if not torch.equal(held[key], torch.tensor([ORDER[norm], radius]).to(held[key])):
            raise ValueError(f"a {key} of {norm} {radius:g}, and another beside it")


def _attack(row: record.Row, held: Mapping[str, Tensor]) -> AttackResult:
    """One attack's row and tensors as its result."""
    told = ("name", "settings", "norm", "radius", "minimal", "refused", "forward", "backward",
            "seconds")  # fmt: skip
    facts: dict[str, Any] = {key: row[key] for key in told}
    facts |= {key: held[f"{row['name']}.{key}"] for key in PER_IMAGE}
    facts |= {key: held.get(f"{row['name']}.{key}") for key in IF_ASKED}
    return AttackResult(**facts, faults=row.get("faults", {}))


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of per-image results. Raises BadInput."""
    try:
        held = safetensors.load(file.read_bytes())
        names = {n.removesuffix(".correct") for n in held if n.endswith(".correct")} - {"clean"}
        each = {f"{name}.{part}" for name in names for part in ("budget", "settings", "distance")}
        if lacking := {"index", "y", "clean.correct", "budget", *each} - held.keys():
            raise ValueError(f"no {', '.join(sorted(lacking))} in it")
        _require_per_image(held)
        return held
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInput(
            f"expected per-image results at {file}, got: {error}; run holdfast evaluate first"
        ) from None


def _require_per_image(held: Mapping[str, Tensor]) -> None:
    """Raises ValueError for tensors that are not of every image, and for flags that are none."""
    images = len(held["index"])
    for name, value in held.items():
        part = name.rpartition(".")[2]
        each = part in {"y", "adv", "marks", *PER_IMAGE, *IF_ASKED}
        if each and value.shape[:1] != (images,):
            raise ValueError(f"{[*value.shape]} in {name}, of {images} images")
        if part == "correct" and value.dtype != torch.bool:
            raise ValueError(f"{name} in {value.dtype}")


def _fingerprint(settings: Sequence[record.Row]) -> Tensor:
    """16 bytes that differ where the settings do, seeds aside."""
    facts = json.dumps(_seedless(settings), sort_keys=True).encode()
    return torch.tensor(list(hashlib.sha256(facts).digest()[:16]), dtype=torch.uint8)


def _seedless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _seedless(item) for key, item in value.items() if key != "seed"}
    return [_seedless(item) for item in value] if isinstance(value, (list, tuple)) else value

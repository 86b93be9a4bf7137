"""An evaluation on disk: a row per attack, per-image results beside it."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import torch as tensors
from torch import Tensor

from holdfast import record
from holdfast.errors import BadInput, require_value
from holdfast.geometry import ORDER
from holdfast.result import Evaluation
from holdfast.types import Images, Labels


def latest(run: Path | str, suite: str | None = None) -> Path:
    """The newest per-image results of a run, by this suite or attack if one is named. Raises
    BadInput where there are none."""
    files = sorted(Path(run).glob("evaluation-*.safetensors"), key=_number)
    if suite is not None:
        rows = record.rows(Path(run) / "evaluation.jsonl")
        named = {row.get("per_image") for row in rows if row.get("battery") == suite}
        files = [file for file in files if file.name in named]
    if not files:
        raise BadInput(
            f"expected an evaluation{f' by {suite}' if suite else ''} in {run}, got none; run "
            f"holdfast evaluate {run}, or in Python holdfast.evaluation.save"
        )
    return files[-1]


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
    those before it too in a cascade) and, where it counts them, `NAME.queries` (-1: never fooled);
    `budget` is that of the worst case, `marks` tell the clean images. Gives their path.

    y: labels of the images. index: their positions in the data set, by which `compare` matches
    images; None: 0, 1, 2, ... about: what else the rows say, such as `battery`, `checkpoint`,
    `split` and `seed`, as those of the command line do. Raises BadInput for another number of them.
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
        held |= {
            f"{attack.name}.settings": _fingerprint([one.settings for one in deciding]),
            f"{attack.name}.correct": attack.correct,
            f"{attack.name}.distance": attack.distance,
            f"{attack.name}.prediction": attack.prediction,
            f"{attack.name}.target": attack.target,
            f"{attack.name}.budget": torch.tensor([ORDER[attack.norm], attack.radius]),
        }
        if attack.queries is not None:
            held[f"{attack.name}.queries"] = attack.queries
    newest = max(map(_number, run.glob("evaluation-*.safetensors")), default=0)
    free = (run / f"evaluation-{number:03d}.safetensors" for number in itertools.count(newest + 1))
    file = record.write_new(free, tensors.save({n: t.contiguous() for n, t in held.items()}))
    whole = found.as_dict()
    shared = {k: v for k, v in whole.items() if k != "attacks"} | record.provenance(**(about or {}))
    shared["budget"] = {"norm": found.norm, "radius": found.radius}  # that of the worst case
    for row in whole["attacks"]:
        record.append(run / "evaluation.jsonl", shared | row | {"per_image": file.name})
    return file


def _fingerprint(settings: Sequence[record.Row]) -> Tensor:
    """16 bytes that differ where the settings do, seeds aside."""
    facts = json.dumps(_seedless(settings), sort_keys=True).encode()
    return torch.tensor(list(hashlib.sha256(facts).digest()[:16]), dtype=torch.uint8)


def _seedless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _seedless(item) for key, item in value.items() if key != "seed"}
    return [_seedless(item) for item in value] if isinstance(value, (list, tuple)) else value

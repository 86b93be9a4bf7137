"""Models to disk and back. A file of weights and its card hold no code.

`save` writes `model.safetensors` and `card.json` into a folder; `load` reads them.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

from safetensors import SafetensorError
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.errors import BadInput
from holdfast.model.create import Card, Network, create, is_own

log = logging.getLogger("holdfast")


def save(model: nn.Module, folder: Path, card: Card) -> None:
    """Write `model.safetensors` and `card.json` into an existing folder."""
    record.write(folder / record.WEIGHTS, tensors.save(weights(model)))
    record.write(folder / record.CARD, json.dumps(record.plain(card.__dict__), indent=2))


def save_run(model: Network, run: Path | str, data: str | None = None) -> Path:
    """A run folder with this network as its only checkpoint, for the commands that judge runs.

    data: name of the data set from which those take their images, unless they are told another.
    Raises BadInput where something is there already, and for a module without a card: one that
    `holdfast.model.create` did not build, which the commands could not build again.
    """
    run = Path(run)
    if not isinstance(model, Network):
        raise BadInput(
            f"expected a network of holdfast.model.create, got a {type(model).__name__}; make it "
            "with create('module:function', ...) and load_state_dict its weights"
        )
    if run.exists():
        raise BadInput(f"expected a new folder for a run, got {run}; name another")
    card = replace(model.card, data=data or model.card.data, provenance=record.provenance())
    with record.folder(run / record.CHECKPOINTS / "last") as draft:
        save(model, draft, card)
    record.link(run / record.CHECKPOINTS / "best", "last")
    return run


def load(path: Path | str, *, architecture: str | nn.Module | None = None) -> Network:
    """The model saved in a checkpoint folder, in evaluation mode, on the CPU.

    architecture: must be given for a model of the form `module:function`; the file alone never
    decides what code is run. Another function of your own than the card's is called without the
    card's options: so is a network loaded that was trained in Python and is built in another way.
    A module is taken as what was built, and gets the weights.
    Raises BadInput: no checkpoint there, damaged, or of another architecture.
    """
    if not isinstance(architecture, (str, nn.Module, NoneType)):
        raise BadInput(
            f"expected architecture as a name or a module, got {architecture!r:.60}; give a module "
            "that is built, such as MyNet(...)"
        )
    folder = Path(path)
    card = read_card(folder)
    if isinstance(architecture, nn.Module):
        whole = isinstance(architecture, Network)
        model = Network(architecture.body if whole else architecture, card)
    else:
        model = _built_anew(folder, card, architecture)
    restore(model, read_weights(folder), folder)
    return model.eval()


def _built_anew(folder: Path, card: Card, architecture: str | None) -> Network:
    """The network of a card, in its own way or that of a function of one's own."""
    own = is_own(card.architecture) and is_own(architecture or "")
    if not own and architecture not in (None, card.architecture):
        raise BadInput(
            f"expected a checkpoint of {architecture} in {folder}, got one of {card.architecture}"
        )
    if architecture is None and is_own(card.architecture):
        name = card.architecture.replace("__main__:", "MODULE:")  # no script can be imported
        how = "" if name == card.architecture else "; first move it from your script into MODULE"
        raise BadInput(
            f"{folder} was made by code of your own, {card.architecture}; "
            f"to run that code say so: --model {name}, or your own function (image, classes) that "
            f"builds the same (architecture= in Python){how}"
        )
    built = architecture or card.architecture
    if built != card.architecture:
        log.warning("%s is of %s; its weights are put into what %s builds", folder,
                    card.architecture, built)  # fmt: skip
    model = create(
        built, image=card.image, classes=card.classes, mean=card.mean, std=card.std, seed=0,
        **(card.options if built == card.architecture else {}),
    )  # fmt: skip
    model.card = card
    return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of a module as contiguous tensors on the CPU, none of which share memory."""
    held, seen = {}, set()
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        held[name] = value.clone() if place in seen else value
        seen.add(place)
    return held


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint. Raises BadInput where the file is missing or damaged."""
    file = folder / record.WEIGHTS
    try:
        return tensors.load(file.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"expected weights at {file}, got no file; check the path") from None
    except SafetensorError as error:
        raise BadInput(f"expected safetensors in {file}, got a damaged file ({error})") from None


def restore(model: nn.Module, state: Mapping[str, Tensor], where: Path) -> None:
    """Put weights into a module. Raises BadInput naming the first one that does not fit."""
    here = model.state_dict()
    for name in [*here, *state]:
        want, got = here.get(name), state.get(name)
        if want is None or got is None or want.shape != got.shape:
            shapes = [None if t is None else tuple(t.shape) for t in (want, got)]
            raise BadInput(
                f"expected weights of this architecture in {where}, got another's: "
                f"{name} should be {shapes[0]}, is {shapes[1]}"
            )
    model.load_state_dict(state)


def read_card(folder: Path) -> Card:
    """The card of a checkpoint. Raises BadInput where there is none or it makes no sense."""
    try:
        raw = json.loads((folder / record.CARD).read_text())
        _require_kinds(raw)
        raw["image"] = tuple(raw["image"])
        raw["mean"], raw["std"] = tuple(raw["mean"]), tuple(raw["std"])
        raw["class_names"] = tuple(raw.get("class_names", ()))
        if not is_own(raw["architecture"]):  # JSON knows lists only; `_all_options` sees to others
            raw["options"] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in raw["options"].items()
            }
        return Card(**raw)
    except FileNotFoundError:
        inside = folder / record.CHECKPOINTS / "best"
        hint = f"; name {inside}" if inside.exists() else ""
        raise BadInput(
            f"expected a checkpoint folder, got no card.json in {folder}{hint}"
        ) from None
    except NotADirectoryError:
        raise BadInput(
            f"expected a checkpoint folder, got the file {folder}; weights of torch.save are for "
            "load_state_dict of a network of holdfast.model.create"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"expected a model card in {folder}, got a damaged one ({error})") from None


def trained_on(run: Path, row: Mapping[str, Any], what: str = "evaluation") -> str | None:
    """Where the checkpoint of a run that a row of its results names has been trained further since,
    in a line; None: it is as it was, or the row does not say."""
    place = run / record.CHECKPOINTS / str(row.get("checkpoint"))
    try:
        now = read_card(place).provenance.get("epoch")
    except BadInput:  # none is there, or one that does not say
        return None
    if None in (now, row.get("epoch")) or now == row["epoch"]:
        return None
    return (
        f"the {what} of {run} is of epoch {row['epoch']}, its {place.name} is now of "
        f"epoch {now}; repeat it"
    )


def _require_kinds(raw: Mapping[str, Any]) -> None:
    """Raises TypeError naming the first entry of a card that is not of its kind."""
    image, per_channel = raw["image"], (raw["mean"], raw["std"])
    shaped = isinstance(image, list) and len(image) == 3 and all(_is_count(n) for n in image)
    right = {
        "architecture": isinstance(raw["architecture"], str),
        "image": shaped,
        "classes": _is_count(raw["classes"]),
        "options": isinstance(raw["options"], dict),
        "mean": shaped and _is_of_channels(per_channel[0], image[0]),
        "std": shaped and _is_of_channels(per_channel[1], image[0]) and min([0, *raw["std"]]) == 0,
        "data": isinstance(raw.get("data"), str | None),
        "class_names": _is_of_classes(raw.get("class_names", []), raw["classes"]),
        "provenance": isinstance(raw.get("provenance", {}), dict),
    }
    for name, fits in right.items():
        if not fits:
            raise TypeError(f"{name} is {raw[name]!r:.60}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_of_classes(value: object, classes: object) -> bool:
    """Whether it is a list of names, one for each class or none at all."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return False
    return len(value) in (0, classes)


def _is_of_channels(value: object, channels: int) -> bool:
    """Whether it is a list of numbers, one for each channel or none at all."""
    if not isinstance(value, list) or not all(isinstance(n, (int, float)) for n in value):
        return False
    return len(value) in (0, channels)

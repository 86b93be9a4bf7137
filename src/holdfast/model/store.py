"""Models by name, to disk and back. A file of weights and its card hold no code.

`create(name, image=..., classes=...)` builds; `save` writes `model.safetensors` and `card.json`
into a folder; `load` reads them. An architecture of the user's own, `module:function`, is only
called where the caller names it: a card from elsewhere cannot choose what is run.
"""

import importlib
import inspect
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.errors import BadInput, choose
from holdfast.model.networks import LIBRARIES, NETWORKS


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is needed to rebuild a model: everything but its weights.

    architecture: a name of holdfast, `torchvision:NAME`, `timm:NAME` or `module:function`;
    options: its further arguments.
    image: (channels, height, width). mean, std: per channel, pixel units of [0, 1].
    data: name of the training set; provenance: who made the weights, with what, when.
    """

    architecture: str
    image: tuple[int, int, int]
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    data: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


log = logging.getLogger("holdfast")
TAKEN = {"name", "mean", "std", "seed"}  # of `create` itself


class Network(nn.Module):
    """An architecture behind its normalisation, with the card that rebuilds it."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, card: Card) -> None:
        super().__init__()
        self.body = body
        self.card = card
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean or (0.0,)).reshape(shape), False)
        spread = torch.tensor([s or 1.0 for s in card.std] or [1.0])  # 0: a channel never changes
        self.register_buffer("std", spread.reshape(shape), False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.std if self.card.mean else x)


def create(
    name: str,
    *,
    image: tuple[int, int, int],
    classes: int,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    seed: int | None = None,
    **options: Any,
) -> Network:
    """A new model: pixels in [0, 1] in, `[batch, classes]` logits out.

    name: one of NETWORKS, `torchvision:NAME`, `timm:NAME`, or `module:function` of your own,
    called with `image`, `classes` and `options`. mean, std: the model normalises its input by them.
    seed: of the first weights; None draws them from torch's global generator.
    Raises BadInput: unknown name or option, a library that is not installed, an image that the
    network cannot take, a function that cannot be found or called.
    """
    build = function(name) if ":" in name else choose(NETWORKS, name, "model")
    options = _all_options(name, build, options)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # the GPU's own stay as they are
        body = _built(name, build, {"image": image, "classes": classes, **options})
    made = Card(
        architecture=name, image=image, classes=classes, options=options, mean=mean, std=std
    )
    return Network(body, made)


def save(model: nn.Module, folder: Path, card: Card) -> None:
    """Write `model.safetensors` and `card.json` into an existing folder."""
    record.write(folder / "model.safetensors", tensors.save(weights(model)))
    record.write(folder / "card.json", json.dumps(record.plain(card.__dict__), indent=2))


def save_run(model: Network, run: Path | str, data: str | None = None) -> Path:
    """A run folder with this network as its only checkpoint, for the commands that judge runs.

    data: name of the data set from which those take their images, unless they are told another.
    Raises BadInput where something is there already.
    """
    run = Path(run)
    if run.exists():
        raise BadInput(f"expected a new folder for a run, got {run}; name another")
    card = replace(model.card, data=data or model.card.data, provenance=record.provenance())
    with record.folder(run / "checkpoints" / "last") as draft:
        save(model, draft, card)
    record.point(run / "checkpoints" / "best", "last")
    return run


def load(path: Path | str, *, architecture: str | None = None) -> Network:
    """The model saved in a checkpoint folder, in evaluation mode, on the CPU.

    architecture: must be given for a model of the form `module:function`; the file alone never
    decides what code is run. Another function of your own than the card's is called without the
    card's options: so is a network loaded that was trained in Python and is built in another way.
    Raises BadInput: no checkpoint there, damaged, or of another architecture.
    """
    folder = Path(path)
    card = read_card(folder)
    own = is_own(card.architecture) and is_own(architecture or "")
    if not own and architecture not in (None, card.architecture):
        raise BadInput(
            f"expected a checkpoint of {architecture} in {folder}, got one of {card.architecture}"
        )
    if architecture is None and is_own(card.architecture):
        raise BadInput(
            f"{folder} was made by code of your own, {card.architecture}; "
            f"to run that code say so: --model {card.architecture} (architecture= in Python)"
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
    restore(model, read_weights(folder), folder)
    return model.eval()


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
    file = folder / "model.safetensors"
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
        raw = json.loads((folder / "card.json").read_text())
        _require_kinds(raw)
        raw["image"] = tuple(raw["image"])
        raw["mean"], raw["std"] = tuple(raw["mean"]), tuple(raw["std"])
        if not is_own(raw["architecture"]):  # JSON knows lists only; `_all_options` sees to others
            raw["options"] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in raw["options"].items()
            }
        return Card(**raw)
    except FileNotFoundError:
        raise BadInput(f"expected a checkpoint folder, got no card.json in {folder}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"expected a model card in {folder}, got a damaged one ({error})") from None


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
        "std": shaped and _is_of_channels(per_channel[1], image[0]),
    }
    for name, fits in right.items():
        if not fits:
            raise TypeError(f"{name} is {raw[name]!r:.60}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_of_channels(value: object, channels: int) -> bool:
    """Whether it is a list of numbers, one for each channel or none at all."""
    if not isinstance(value, list) or not all(isinstance(n, (int, float)) for n in value):
        return False
    return len(value) in (0, channels)


def function(name: str) -> Callable[..., nn.Module]:
    """What `torchvision:NAME`, `timm:NAME` or `module:function` names. Raises BadInput.

    A module is looked for in the current folder too.
    """
    module, _, function = name.partition(":")
    if module in LIBRARIES:
        return LIBRARIES[module](function)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Callable[..., nn.Module] = getattr(importlib.import_module(module), function)
        if not callable(found):
            raise TypeError(f"{found!r:.60}, which cannot be called")
        if taken := TAKEN & set(inspect.signature(found).parameters):
            raise TypeError(f"a parameter called {min(taken)}, which is taken; rename it")
        return found
    except (Exception, SystemExit) as error:  # the user's module runs here: anything may come
        raise BadInput(
            f"expected a function to build the model at '{name}', "
            f"got {type(error).__name__}: {error}; mend the module or correct the name"
        ) from error


def is_own(name: str) -> bool:
    """Whether the name stands for the user's code, not for holdfast's or a library's."""
    return ":" in name and name.partition(":")[0] not in LIBRARIES


def _built(name: str, build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """What the function builds. Raises BadInput where it fails or builds no module."""
    try:
        body = build(**arguments)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # of the user's code, or of torch for an odd option
        raise BadInput(
            f"expected {name} to build a network for these options, "
            f"got {type(error).__name__}: {error}; correct the options or the function"
        ) from error
    if not isinstance(body, nn.Module):
        raise BadInput(f"expected {name} to return a torch.nn.Module, got {type(body).__name__}")
    return body


def _all_options(
    name: str, build: Callable[..., nn.Module], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options and the defaults of those left out, so that a card does not depend on how much
    was spelled out. Raises BadInput for an option that the function does not take."""
    try:
        signature = inspect.signature(build)
        signature.bind(image=None, classes=None, **options)
    except TypeError as error:
        raise BadInput(
            f"expected {name} to take image, classes"
            f"{''.join(', ' + option for option in options)}; got: {error}"
        ) from None
    plain = (bool, int, float, str, tuple)  # what a card can hold
    defaults = {p.name: p.default for p in signature.parameters.values()}
    given = {k: tuple(v) if isinstance(defaults.get(k), tuple) and isinstance(v, list) else v
             for k, v in options.items()}  # fmt: skip
    held = {k: v for k, v in defaults.items() if isinstance(v, plain)} | given
    return {k: v for k, v in held.items() if v is not None or defaults.get(k) is not None}

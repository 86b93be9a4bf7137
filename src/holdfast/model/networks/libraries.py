"""Networks of torchvision and timm by name, each new: no weights are ever downloaded.

Both packages are optional and are imported only where a network of theirs is named. Their names
come from their own lists, and their options are those below, so a card from elsewhere can name no
file, no address and no code of its own.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.errors import BadInput, cause, suggest

# The heads that serve training alone would return several logits; and both ask how to begin.
ONE_HEAD: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class Grey(nn.Module):
    """One channel as three equal ones, `[batch, 1, height, width]` to `[batch, 3, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)


def from_torchvision(name: str) -> Callable[..., nn.Module]:
    """A classifier of `torchvision.models` without weights. Raises BadInput for an unknown name."""
    models = _library("torchvision", "torchvision.models")
    _require_name("torchvision", name, models.list_models(module=models))

    def build(
        *, image: tuple[int, int, int], classes: int, dropout: float | None = None
    ) -> nn.Module:
        """The network as published, its stem too; grey images are given as three equal channels.

        Args:
            dropout: rate where the network has that option; None leaves the network's own.
        """
        if image[0] not in (1, 3):
            raise BadInput(f"expected 1 or 3 channels for torchvision:{name}, got {image}")
        options = ONE_HEAD.get(name, {}) | _side(name, image)
        if dropout is not None:
            options["dropout"] = dropout
        made = _fitting(
            f"torchvision:{name}",
            (3, *image[1:]),
            lambda: models.get_model(name, weights=None, num_classes=classes, **options),
        )
        return nn.Sequential(Grey(), made) if image[0] == 1 else made

    return build


def from_timm(name: str) -> Callable[..., nn.Module]:
    """A model of timm without weights. Raises BadInput for an unknown name."""
    timm = _library("timm", "timm")
    _require_name("timm", name, timm.list_models())

    def build(
        *,
        image: tuple[int, int, int],
        classes: int,
        drop_rate: float | None = None,
        drop_path_rate: float | None = None,
        patch_size: int | None = None,
    ) -> nn.Module:
        """The network with a first layer for the image's channels, and of the image's size.

        Args:
            drop_rate: dropout before the logits; None leaves the network's own.
            drop_path_rate: rate at which whole blocks are left out.
            patch_size: side of a patch in pixels, of a network that sees patches.
        """
        options: dict[str, Any] = {
            "drop_rate": drop_rate,
            "drop_path_rate": drop_path_rate,
            "patch_size": patch_size,
        }
        if timm.models.get_pretrained_cfg(name).fixed_input_size:
            options["img_size"] = image[1:]
        options |= {"num_classes": classes, "in_chans": image[0]}
        return _fitting(
            f"timm:{name}", image, lambda: timm.create_model(name, pretrained=False, **options)
        )

    return build


LIBRARIES: dict[str, Callable[[str], Callable[..., nn.Module]]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
}
"""What stands before the colon, to what finds the network named after it."""


def _library(package: str, module: str) -> Any:
    """The module. Raises BadInput where it is not installed, or made for another torch."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        problem, remedy = error, "pip install 'holdfast[vision]'"
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        problem = error
        remedy = (
            f"torchvision must be made for torch {torch.__version__}: from where that came, "
            "pip install --force-reinstall --no-deps torchvision"
        )
    raise BadInput(
        f"expected {package} for networks named {package}:NAME, got: {cause(problem)}; {remedy}"
    )


def _require_name(package: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise BadInput(
            f"expected one of the {len(known)} classifiers of {package}, got '{name}'"
            f"{suggest(name, known)}"
        )


def _side(name: str, image: tuple[int, int, int]) -> dict[str, Any]:
    """The size of the image, for those of torchvision's networks that are built for one."""
    if name.startswith("vit_"):
        return {"image_size": image[1]}
    return {"input_size": image[1:]} if name.startswith("maxvit") else {}


def _fitting(name: str, image: tuple[int, int, int], make: Callable[[], nn.Module]) -> nn.Module:
    """The network, tried on two black images. Raises BadInput where it cannot take them, or where
    it refuses its options: what else it needs is known to the library alone.
    """
    try:
        made = make().eval()
        with torch.no_grad():
            made(torch.zeros(2, *image))
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(
            f"expected images and options that {name} can take, got {image}: {cause(error)}; "
            "try larger images, other options or another network"
        ) from None
    return made.train()

"""What can be measured: images, labels and a model that fit each other; else one line why not."""

from typing import Any

import torch
from torch import Tensor, nn

from holdfast import loss
from holdfast.errors import BadInput, cause
from holdfast.model.modes import eval_mode, predict
from holdfast.types import Classifier, Images, Labels, Logits, device_of


def check_inputs(
    model: Classifier, x: Any, y: Any, index: Any = None
) -> tuple[Images, Labels, Labels]:
    """Images, labels and positions, moved to the model's device and the images to its dtype.

    A model that is a function gets the images' own dtype, or float32 where that is narrower.
    Raises BadInput for what is no tensor or of another shape or kind, pixels outside [0, 1], and
    for weights narrower than float32, which would blur the checks.
    """
    _require_tensor("images", x, range(2, 9), "[batch, channel, height, width]")
    _require_tensor("labels", y, range(1, 2), "[batch]")
    if len(x) == 0 or len(x) != len(y):
        raise BadInput(f"expected as many labels as images, and some; got {len(y)} and {len(x)}")
    if not x.is_floating_point():
        raise BadInput(f"expected pixels as floats in [0, 1], got {x.dtype}; divide them by 255")
    index = torch.arange(len(x)) if index is None else index
    _require_tensor("index", index, range(1, 2), "[batch]")
    _require_integers("labels", y)
    _require_integers("index", index)
    if len(index) != len(x):
        raise BadInput(f"expected an index of {len(x)} images, got one of {len(index)}")
    _require_pixels(x)
    where = device_of(model, x.device)
    return x.detach().to(where, _dtype(model, x)), y.to(where).long(), index.to(where)


def clean_logits(model: Classifier, x: Images, y: Labels, batch_size: int | None) -> Logits:
    """Logits of the clean images, of any number of classes from 2.

    Raises BadInput where the model cannot take the images, gives something else or NaN, or where
    a label is none of its classes.
    """
    _rehearse(model, x[:1])
    logits = predict(model, x, batch_size)
    if logits.isnan().any():
        first = int(logits.isnan().any(1).nonzero()[0])
        raise BadInput(f"expected logits that are numbers, got NaN at image {first}; train anew")
    wrong = (y < 0) | (y >= logits.shape[1])
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise BadInput(
            f"expected labels from 0 to {logits.shape[1] - 1}, got {int(y[first])} at image {first}"
        )
    return logits


def _require_tensor(what: str, value: Any, axes: range, shape: str) -> None:
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise BadInput(f"expected {what} as a tensor, got {kind}; convert with torch.as_tensor")
    if value.ndim not in axes:
        raise BadInput(f"expected {what} of shape {shape}, got {tuple(value.shape)}; reshape them")


def _require_integers(what: str, value: Tensor) -> None:
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise BadInput(f"expected {what} as integers, got {value.dtype}; convert them with .long()")


def _require_pixels(x: Images) -> None:
    bad = ~(torch.isfinite(x) & (x >= 0) & (x <= 1)).flatten(1).all(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise BadInput(
            f"expected pixels in [0, 1], got {x[first].min():.3g} to {x[first].max():.3g} in image "
            f"{first} ({int(bad.sum())} such images); put normalisation into the model"
        )


def _dtype(model: Classifier, x: Images) -> torch.dtype:
    """The dtype of the model's weights; for a model without any that we can see, the images'."""
    weights = [w.dtype for w in model.parameters()] if isinstance(model, nn.Module) else []
    kinds = [kind for kind in weights if kind.is_floating_point]
    narrow = [kind for kind in kinds if kind not in (torch.float32, torch.float64)]
    if narrow:
        raise BadInput(
            f"expected weights in float32 or float64, got {narrow[0]}; call model.float()"
        )
    return kinds[0] if kinds else loss.at_least_fp32(x[:0]).dtype


@torch.no_grad()
def _rehearse(model: Classifier, x: Images) -> None:
    """One image to its logits. Raises BadInput where that fails or gives something else."""
    try:
        with eval_mode(model):
            logits: Any = model(shown := x.clone())
    except Exception as error:
        shape = tuple(x.shape[1:])
        last = x.ndim == 4 and x.shape[3] <= 4 < x.shape[1]
        hint = "; they look like channels last: x.permute(0, 3, 1, 2)" if last else ""
        raise BadInput(
            f"expected a model that takes images {shape}, got: {cause(error)}{hint}"
        ) from error
    written = not shown.is_inference() and shown._version > 0  # even where the values are the same
    if written or not torch.equal(shown, x):
        raise BadInput("expected a model that leaves its images as they are, got one that changes "
                       "them in place; let it take a clone")  # fmt: skip
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        raise BadInput(f"expected logits [batch, classes] from the model, got {got} for one image")
    if logits.is_complex():
        raise BadInput("expected logits that are real numbers, got complex ones; take their .abs()")
    if logits.shape[1] < 2:
        raise BadInput(
            "expected logits of 2 classes or more, got 1; for one number z per image give the "
            "logits (-z/2, z/2)"
        )

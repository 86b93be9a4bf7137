"""Planes through a network's weights, normalised filter by filter.

Li et al. 2018 (arXiv 1712.09913, section 4): without it a network whose weights are small looks
sharp, and one whose weights are large flat, whatever they compute.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from holdfast import noise
from holdfast.diagnosis.planes import Surface, Values, judged
from holdfast.loss import at_least_fp32
from holdfast.model import batches_of
from holdfast.types import Images, Labels, PerImage

Weights = dict[str, Tensor]


def normalised(model: nn.Module, seed: int, which: int) -> Weights:
    """A random direction in which every filter is as long as the same filter of the model.

    A filter is what leads to one output, a slice along a weight's first axis. Weights of one axis
    or none, which are biases and the scales and shifts of batch normalisation, have no direction.
    """
    found = {}
    for place, (name, weight) in enumerate(model.named_parameters()):
        if weight.ndim > 1:
            key = torch.tensor([place], device=weight.device)
            stream = (noise.Stream.PLANES, 2, which)
            drawn = noise.normal(key, tuple(weight.shape), seed, *stream)[0].to(weight)
            found[name] = drawn * (_sizes(weight.detach()) / _sizes(drawn))
    return found


def _sizes(weight: Tensor) -> Tensor:
    """The length of each filter, shaped to multiply it."""
    return weight.flatten(1).norm(dim=1).reshape(-1, *(1,) * (weight.ndim - 1))


def weight_surface(
    model: nn.Module, x: Images, y: Labels, one: Weights, two: Weights, batch_size: int
) -> Surface:
    """Mean losses over all images at weights moved along two directions; the model itself is not
    touched. Batch normalisation uses the statistics that it has."""
    here = {name: model.get_parameter(name).detach() for name in one}

    def point(row: Weights, across: float) -> Values:
        moved = {name: torch.add(row[name], one[name], alpha=across) for name in here}
        sums: dict[str, float] = {}
        for some, labels in batches_of(batch_size, x, y):
            for name, value in judged(
                at_least_fp32(functional_call(model, moved, (some,))), labels
            ).items():
                sums[name] = sums.get(name, 0.0) + value.double().sum().item()
        return {name: torch.tensor(value / len(x)) for name, value in sums.items()}

    def at(plane: int, across: PerImage, up: PerImage) -> Values:
        found, row, last = [], here, 0.0
        for place, height in zip(across.tolist(), up.tolist(), strict=True):
            if height != last:
                row = {name: torch.add(here[name], two[name], alpha=height) for name in here}
                last = height
            found.append(point(row, place))
        maps = {name: torch.stack([one[name] for one in found]) for name in found[0]}
        classes = torch.full((len(across),), -1)
        return maps | {"classes": classes, "outside": torch.zeros(len(across))}

    return at

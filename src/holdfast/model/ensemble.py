"""Several classifiers as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from holdfast.errors import BadInput
from holdfast.loss import at_least_fp32
from holdfast.types import Classifier


def ensemble(models: Sequence[Classifier]) -> Classifier:
    """One classifier whose logits are the mean of theirs (Dong et al., arXiv 1710.06081, section
    3.3, with equal weights): what fools several sources is likelier to fool another model.

    Raises BadInput for no list of models or an empty one, and when called for models of unlike
    numbers of classes.
    """
    if isinstance(models, nn.Module):
        raise BadInput(f"expected a list of models, got one {type(models).__name__}")
    if not models:
        raise BadInput("expected at least 1 model for an ensemble, got none")
    return _Ensemble(models)


class _Ensemble(nn.Module):
    """A module, so that whoever moves or lends it reaches those of its models that are modules."""

    def __init__(self, models: Sequence[Classifier]) -> None:
        super().__init__()
        self.models = tuple(models)
        self.weighted = nn.ModuleList(one for one in models if isinstance(one, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        logits = [at_least_fp32(one(x)) for one in self.models]
        classes = [one.shape[1] for one in logits]
        if len(set(classes)) > 1:
            raise BadInput(f"expected models of the same classes in an ensemble, got {classes}")
        return torch.stack(logits).mean(0)

"""Batteries of attacks, and the check of everything they claim."""

from holdfast.evaluation.compare import Comparison, compare, paired, require_common
from holdfast.evaluation.curve import Curve, curve
from holdfast.evaluation.evaluate import evaluate
from holdfast.evaluation.flags import wavering
from holdfast.evaluation.inputs import as_attack, require_settings, usual_radius
from holdfast.evaluation.judge import acceptable, budget, described
from holdfast.evaluation.reference import Reference
from holdfast.evaluation.store import latest, load, save
from holdfast.evaluation.suites import SUITES, Suite, Task
from holdfast.evaluation.transfer import TransferMatrix, transfer_matrix

__all__ = [
    "SUITES",
    "Comparison",
    "Curve",
    "Reference",
    "Suite",
    "Task",
    "TransferMatrix",
    "acceptable",
    "as_attack",
    "budget",
    "compare",
    "curve",
    "described",
    "evaluate",
    "latest",
    "load",
    "paired",
    "require_common",
    "require_settings",
    "save",
    "transfer_matrix",
    "usual_radius",
    "wavering",
]

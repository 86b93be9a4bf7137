"""Batteries of attacks, and the check of everything they claim."""

from holdfast.evaluation.compare import Comparison, compare, paired, require_common
from holdfast.evaluation.curve import Curve, curve
from holdfast.evaluation.evaluate import evaluate
from holdfast.evaluation.flags import output_spread
from holdfast.evaluation.inputs import as_attack, default_radius, require_settings
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
    "default_radius",
    "described",
    "evaluate",
    "latest",
    "load",
    "output_spread",
    "paired",
    "require_common",
    "require_settings",
    "save",
    "transfer_matrix",
]

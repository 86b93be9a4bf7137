"""Batteries of attacks whose every claim is checked again."""

from holdfast.evaluation.evaluate import SUITES, acceptable, evaluate
from holdfast.evaluation.store import save

__all__ = ["SUITES", "acceptable", "evaluate", "save"]

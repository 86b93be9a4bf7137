"""The frozen records that training and evaluation return: units, intervals, tables."""

from holdfast.result.evaluation import AttackResult, Evaluation
from holdfast.result.standing import (
    SLACK,
    WORST,
    Finding,
    Flags,
    Interval,
    Standing,
    aligned,
    cells,
    doubted,
    fraction,
    median,
    numbers,
    wilson,
)
from holdfast.result.stored import evaluations, rows_of
from holdfast.result.trained import Trained

__all__ = [
    "SLACK",
    "WORST",
    "AttackResult",
    "Evaluation",
    "Finding",
    "Flags",
    "Interval",
    "Standing",
    "Trained",
    "aligned",
    "cells",
    "doubted",
    "evaluations",
    "fraction",
    "median",
    "numbers",
    "rows_of",
    "wilson",
]

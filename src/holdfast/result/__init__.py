"""The frozen records that training and evaluation return: units, intervals, tables."""

from holdfast.result.evaluation import AttackResult, Evaluation
from holdfast.result.finding import Finding, Sign, Word
from holdfast.result.standing import (
    SLACK,
    WORST,
    Flags,
    Interval,
    Standing,
    fraction,
    median,
    reaches,
    wilson,
)
from holdfast.result.stored import evaluations, rows_of
from holdfast.result.text import aligned, cells, doubted
from holdfast.result.trained import Trained

__all__ = [
    "SLACK",
    "WORST",
    "AttackResult",
    "Evaluation",
    "Finding",
    "Flags",
    "Interval",
    "Sign",
    "Standing",
    "Trained",
    "Word",
    "aligned",
    "cells",
    "doubted",
    "evaluations",
    "fraction",
    "median",
    "reaches",
    "rows_of",
    "wilson",
]

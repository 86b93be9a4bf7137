"""The frozen records that training and evaluation return: units, intervals, tables."""

from holdfast.result.evaluation import IF_ASKED, PER_IMAGE, AttackResult, Evaluation
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
from holdfast.result.stored import evaluations, others, radius_of, rows_of
from holdfast.result.tables import (
    Table,
    cells,
    curve_table,
    doubted,
    margin_table,
    refusals,
    remarks,
    remedy_table,
    round_table,
    transfer_table,
)
from holdfast.result.trained import Trained

__all__ = [
    "IF_ASKED",
    "PER_IMAGE",
    "SLACK",
    "WORST",
    "AttackResult",
    "Evaluation",
    "Finding",
    "Flags",
    "Interval",
    "Sign",
    "Standing",
    "Table",
    "Trained",
    "Word",
    "cells",
    "curve_table",
    "doubted",
    "evaluations",
    "fraction",
    "margin_table",
    "median",
    "others",
    "radius_of",
    "reaches",
    "refusals",
    "remarks",
    "remedy_table",
    "round_table",
    "rows_of",
    "transfer_table",
    "wilson",
]

"""Rounds of measuring margins, generating examples beyond the boundary, and training on them."""

from holdfast.retraining.examples import examples, mixed
from holdfast.retraining.probe import Probe
from holdfast.retraining.retrain import JUDGE, retrain
from holdfast.retraining.rounds import Retrained, Round

__all__ = ["JUDGE", "Probe", "Retrained", "Round", "examples", "mixed", "retrain"]

"""Is it real? Gradient indicators, entropy, loss landscapes, signs of masking, the adaptive attack,
and a verdict."""

from holdfast.diagnosis.adaptive import Adaptive, answer
from holdfast.diagnosis.diagnose import diagnose
from holdfast.diagnosis.dynamic import Dynamic, dynamic
from holdfast.diagnosis.entropy import Entropy, entropy
from holdfast.diagnosis.evidence import Evidence
from holdfast.diagnosis.hidden import StraightThrough, hidden
from holdfast.diagnosis.landscape import Landscape, landscape
from holdfast.diagnosis.patient import DEFAULT, QUICK, Depth
from holdfast.diagnosis.spread import Difference, Spread, difference, spread
from holdfast.diagnosis.static import Static, static
from holdfast.diagnosis.verdict import Diagnosis, Remedy
from holdfast.diagnosis.views import VIEWS, Averaged, ThroughViews

__all__ = [
    "DEFAULT",
    "QUICK",
    "VIEWS",
    "Adaptive",
    "Averaged",
    "Depth",
    "Diagnosis",
    "Difference",
    "Dynamic",
    "Entropy",
    "Evidence",
    "Landscape",
    "Remedy",
    "Spread",
    "Static",
    "StraightThrough",
    "ThroughViews",
    "answer",
    "diagnose",
    "difference",
    "dynamic",
    "entropy",
    "hidden",
    "landscape",
    "spread",
    "static",
]

"""Signs of gradient masking: each a function from evidence to a finding, or to nothing.

Their thresholds were set once, on networks for the digits (docs/diagnosis.md); none is zero, as on
every honest network there are a few images on which a second attack finds what a first did not.
"""

from collections.abc import Iterator

from holdfast.diagnosis import comparisons, failures
from holdfast.diagnosis.evidence import Evidence
from holdfast.result import Finding

SIGNS: tuple[comparisons.Rule, ...] = (
    comparisons.one_step, comparisons.gradient_free, comparisons.transfer, comparisons.loss,
    comparisons.views, comparisons.unbounded, comparisons.budget, comparisons.random_points,
    comparisons.hard_label, comparisons.more_steps, comparisons.more_restarts, failures.unstable,
    failures.discontinuous, failures.silent, failures.unfinished, failures.vanishing,
    failures.precision, failures.wrong_way, failures.operations,
)  # fmt: skip


def findings(evidence: Evidence) -> Iterator[Finding]:
    """Every sign that fires, those of the evaluation itself first."""
    yield from evidence.flags
    for sign in SIGNS:
        found = sign(evidence)
        if found is not None:
            yield found

"""What a classifier's user ought to know, and the word of a diagnosis: one name for each."""

from dataclasses import dataclass
from enum import StrEnum

from holdfast.record import Row


class _Name(StrEnum):
    """A string in every way, shown as one."""

    def __repr__(self) -> str:
        return repr(self.value)


class Sign(_Name):
    """All that a finding may be about.

    docs/evaluation.md and docs/diagnosis.md say when each fires and who described it.
    """

    # What the evaluation looks at by itself.
    RANDOM_OUTPUTS = "random outputs"
    BATCH_MATES = "batch mates"
    PROBABILITIES_FOR_LOGITS = "probabilities for logits"
    GRADIENTS_INSIDE_THE_FORWARD_PASS = "gradients inside the forward pass"
    ONE_CLASS = "one class for all images"
    SHIFTED_LABELS = "shifted labels"
    COARSE_LOGITS = "coarse logits"
    ZERO_GRADIENTS = "zero gradients"
    SATURATED_CROSS_ENTROPY = "saturated cross-entropy"
    LOSS_WITHOUT_GRADIENT = "loss without gradient"

    # What casts doubt on an evaluation.
    SEVERAL_NORMS = "several norms"
    SEVERAL_BUDGETS = "several budgets"
    NO_ATTACK_OF_THE_BUDGET = "no attack of the budget"
    STEPS_TOO_SHORT = "steps too short"
    IMAGES_OF_THE_TARGET = "images of the target"
    IMAGES_REFUSED = "images refused"
    BLIND_ATTACKS_FIND_MORE = "blind attacks find more"
    NO_IMAGES = "no images"
    FEW_CLASSES = "few classes"

    # One attack against another.
    CLAIM_DOES_NOT_HOLD = "claim does not hold"
    ONE_STEP_BEATS_MANY = "one step beats many"
    GRADIENT_FREE_FINDS_MORE = "gradient-free finds more"
    TRANSFER_BEATS_WHITE_BOX = "transfer beats white-box"
    LOSS_HIDES_ERRORS = "the loss hides errors"
    REPAIRED_GRADIENT_FINDS_MORE = "a repaired gradient finds more"
    UNBOUNDED_ATTACK_FAILS = "unbounded attack fails"
    LARGER_BUDGET_FINDS_LESS = "a larger budget finds less"
    RANDOM_POINTS_FIND_MORE = "random points find more"
    HARD_LABELS_FIND_MORE = "hard labels find more"
    MORE_STEPS_FIND_MORE = "more steps find more"
    MORE_RESTARTS_FIND_MORE = "more restarts find more"

    # On gradients and on an attack's path.
    UNSTABLE_PREDICTIONS = "unstable predictions"
    DISCONTINUOUS_OUTPUTS = "discontinuous outputs"
    SILENT_SUCCESS = "silent success"
    UNFINISHED_CLIMB = "unfinished climb"
    VANISHING_GRADIENTS = "vanishing gradients"
    FLOAT32_GRADIENTS_ARE_WRONG = "float32 gradients are wrong"
    GRADIENTS_POINT_THE_WRONG_WAY = "gradients point the wrong way"
    HIDDEN_OPERATIONS = "hidden operations"


class Word(_Name):
    """What a diagnosis comes to; docs/diagnosis.md says what each means."""

    NO_SIGN = "no sign of masking"
    TOO_FEW = "too few images to tell"
    WEAK = "weak claim"
    SUSPICIOUS = "suspicious"
    MASKED = "masked"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a classifier that its user ought to know.

    name: a `Sign`, or a plain string where a file of another version was read.
    evidence: the numbers it rests on; meaning: what they say, in a sentence; advice: what to do.
    """

    name: str
    evidence: Row
    meaning: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}; {self.advice}"

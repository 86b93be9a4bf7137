"""What a diagnosis comes to: the verdict, and what it rests on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from holdfast import record
from holdfast.diagnosis.entropy import Entropy
from holdfast.diagnosis.evidence import Evidence
from holdfast.diagnosis.spread import Difference
from holdfast.record import Row
from holdfast.result import Finding, Sign, Standing, Table, Word, reaches, remedy_table

LEAST = 8  # images that must fall before McNemar's test can be as sure as a sign must be
MANY = 0.2  # share of images that a better loss takes, from which the gradient has misled
SURELY = 0.1  # the low end of that share's interval, likewise
GAP = 0.1  # share of images lost from which no finding at all means too few images
NO_CLAIM = frozenset({Sign.ONE_CLASS, Sign.SHIFTED_LABELS})  # nothing of it, but of the data
WEAK = frozenset({
    Sign.LOSS_HIDES_ERRORS, Sign.MORE_STEPS_FIND_MORE, Sign.MORE_RESTARTS_FIND_MORE,
    Sign.UNFINISHED_CLIMB, Sign.STEPS_TOO_SHORT, Sign.IMAGES_REFUSED, Sign.IMAGES_OF_THE_TARGET,
})  # fmt: skip
"""Findings that a weak attack explains: a bug in it, a poor loss, too few steps, a target. Where
no other fires, the gradients do not mislead, and a better attack tells what the claim is worth."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """An attack beside the claim, on the sample.

    alone: share of images that it takes from the claim; beyond: share that it alone takes, so that
    0 says that another does as well.
    """

    name: str
    alone: float
    beyond: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Diagnosis:
    """A verdict on a robust accuracy, and what it rests on.

    clean, claimed, left: standing without attack, after the attack that made the claim, and after
    the strongest attack on each image (an upper bound on the true robust accuracy).
    findings: signs of masking; remedies: what each attack takes, on the sample of images.
    passes: forward and backward, of the attacks alone; one through the mean policy of a random
    model counts once, however many draws it takes. seconds: wall time of all.
    """

    clean: Standing
    claimed: Standing
    left: Standing
    claim: str
    findings: tuple[Finding, ...]
    remedies: tuple[Remedy, ...]
    evidence: Evidence
    passes: int
    seconds: float

    @property
    def _signs(self) -> list[Finding]:
        """The findings that say something of the claim: not that nothing is there to attack."""
        return [finding for finding in self.findings if finding.name not in NO_CLAIM]

    @property
    def masked(self) -> bool:
        """Whether a sign of masking fired, beyond those of a claim that is merely weak: the word is
        masked or suspicious."""
        return any(map(_misleads, self._signs))

    @property
    def word(self) -> Word:
        """What it comes to. Too few images for a comparison to be sure: few are left of the claim,
        or many fell and no finding explains it."""
        if self.masked:
            broken = any(finding.name == Sign.CLAIM_DOES_NOT_HOLD for finding in self.findings)
            return Word.MASKED if broken else Word.SUSPICIOUS
        if self._signs:
            return Word.WEAK
        few = 0 < int(self.claimed.correct.sum()) < LEAST
        fell = reaches(self.claimed.accuracy - self.left.accuracy, GAP)
        return Word.TOO_FEW if few or fell else Word.NO_SIGN

    @property
    def verdict(self) -> str:
        """One line: what is claimed, what is left, and what each remedy takes."""
        draws = any(finding.name == Sign.RANDOM_OUTPUTS for finding in self.findings)
        bound = "no bound for its mean: each look is a draw" if draws else "an upper bound"
        line = (
            f"{self.word}: {self.claimed.accuracy:.1%} claimed by {self.claim}, "
            f"{self.left.accuracy:.1%} left after the strongest attack per image ({bound})"
        )
        strong = sorted(self.remedies, key=lambda one: -one.alone)[:3]
        said = [
            f"{one.name} takes {100 * one.alone:.1f} points alone and {100 * one.beyond:.1f} when "
            "all others are kept"
            for one in strong
            if one.alone > 0
        ]
        seen, images = len(self.evidence.claim), len(self.clean.correct)
        where = [f"on {seen} of the images"] if seen < images else []
        return "; ".join([line, ", ".join([*where, said[0]]), *said[1:]]) if said else line

    @property
    def entropy(self) -> Mapping[str, Entropy]:
        """Of the policy on clean, attacked and noisy images of the sample."""
        return self.evidence.entropy

    @property
    def beside(self) -> Mapping[str, Difference]:
        """Each indicator less that of the twin, by loss and name; empty without one."""
        return self.evidence.beside

    def as_table(self) -> Table:
        """What each remedy takes, in points of accuracy."""
        return remedy_table({"remedies": [asdict(one) for one in self.remedies]})

    def table(self) -> str:
        """The verdict, the findings, the entropies, and what each remedy takes."""
        said = [f"- {finding}" for finding in self.findings]
        sure = [f"entropy, {name}: {one}" for name, one in self.entropy.items()]
        return "\n".join([self.verdict, *said, *sure, "", str(self.as_table())])

    def __repr__(self) -> str:
        return f"Diagnosis of {len(self.clean.correct)} images: {self.table()}"

    def save(self, folder: Path | str, about: Mapping[str, object] | None = None) -> Row:
        """Write `findings.json` in the folder, a run's or another, and add the same as a row to
        `diagnosis.jsonl`. about: what else it says, such as `radius` and `norm`. Gives the row."""
        row = self.as_dict() | record.provenance(**(about or {}))
        record.append(Path(folder) / record.DIAGNOSES, row)
        record.write_json(Path(folder) / record.FINDINGS, row)
        return row

    def as_dict(self) -> Row:
        held = self.evidence
        standings = {"clean": self.clean, "claimed": self.claimed, "left": self.left}
        row: Row = {
            "verdict": self.verdict,
            "word": self.word,
            "masked": self.masked,
            "claim": self.claim,
        }
        for name, one in standings.items():
            near = one.interval
            row |= {f"{name}_accuracy": one.accuracy, f"{name}_interval": [*near]}
        return row | {
            "images": len(self.clean.correct), "sample": len(held.claim),
            "findings": [asdict(finding) for finding in self.findings],
            "remedies": [asdict(one) for one in self.remedies],
            "steps": list(held.steps), "restarts": list(held.restarts),
            "budgets": list(held.budgets),
            "entropy": {name: one.as_dict() for name, one in self.entropy.items()},
            "static": [one.as_dict() for one in held.static.values()],
            "dynamic": [one.as_dict() for one in held.dynamic.values()],
            "beside": {name: vars(apart) for name, apart in self.beside.items()},
            "passes": self.passes, "seconds": self.seconds,
        }  # fmt: skip


def _misleads(finding: Finding) -> bool:
    """Whether a finding says more than that the claim is weak: so does a loss on which the same
    attack takes many points more, as where logits are squashed."""
    facts = finding.evidence
    if finding.name == Sign.LOSS_HIDES_ERRORS:
        return reaches(facts["claimed"] - facts["left"], MANY) and facts["low"] >= SURELY
    return finding.name not in WEAK and not facts.get("climbed")

"""Is it real? The diagnosis of a classifier that claims to be robust."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from holdfast import noise
from holdfast.attack import PGD
from holdfast.diagnosis.adaptive import answer
from holdfast.diagnosis.comparisons import stronger
from holdfast.diagnosis.evidence import Evidence, climbed
from holdfast.diagnosis.gather import gather, under_claim
from holdfast.diagnosis.masking import findings
from holdfast.diagnosis.patient import DEFAULT, Depth, Patient
from holdfast.diagnosis.verdict import Diagnosis, Remedy
from holdfast.diagnosis.views import Averaged
from holdfast.errors import BadInput, require_value
from holdfast.evaluation import (
    as_attack,
    budget,
    default_radius,
    described,
    evaluate,
    output_spread,
    require_settings,
)
from holdfast.loss import is_correct
from holdfast.model import check_inputs, clean_logits, eval_mode, predict
from holdfast.result import Evaluation, Finding, Flags, Sign, Standing, fraction
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Progress


def diagnose(
    model: Classifier,
    x: Images,
    y: Labels,
    *,
    radius: float | None = None,
    norm: Norm = "linf",
    claim: Attack | None = None,
    twin: Classifier | None = None,
    depth: Depth = DEFAULT,
    batch_size: int | None = None,
    index: Labels | None = None,
    seed: int = 0,
    folder: Path | str | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Whether the accuracy that an attack leaves is robustness, or a gradient that misleads.

    Args:
        model: images in [0, 1] to logits; left as it was. One that is random is judged by its
            mean policy over 8 draws. The adaptive attack, the blind ones and two remedies, averaged
            and gradient-free, attack that mean; the claim and the others see single draws, as an
            attacker does who does not know that it is random.
        x, y: images and integer labels. The claim and the adaptive attack see all of them, the
            other attacks and the indicators `depth.sample` of them, each class in proportion.
        radius, norm: the budget, pixel units of [0, 1]; linf or l2. None: 8/255, within linf alone.
        claim: the attack whose result is in doubt; None: PGD with 20 steps on cross-entropy.
        twin: a model of the same classes, best the same network without its defence, whose
            images are tried on the model.
        depth: how much is spent: `DEFAULT`, `QUICK` (about an eighth of it), or one of your own.
        batch_size: images attacked together; None: 100 on a CPU, 1,000 elsewhere.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        seed: of everything that is drawn.
        folder: where finished attacks are kept, so that a killed diagnosis that is called again
            goes on behind them.
        progress: called after each batch of each attack with (attack, images done, images).

    Raises BadInput: as `evaluate` does, for the norm l1, for a claim of another budget, and for one
    most of whose images do not count.
    """
    began = time.perf_counter()
    require_value("depth", depth, "diagnosis.QUICK", Depth)
    if twin is not None:
        require_value("twin", twin, "model.load('runs/other/checkpoints/best')")
    if norm == "l1":
        raise BadInput("expected norm linf or l2 for a diagnosis, got l1; evaluate knows l1")
    radius = default_radius(norm) if radius is None else radius
    if claim is None:
        claim = PGD(radius=radius, norm=norm, steps=20, seed=seed)
    claim = as_attack("claim", claim)
    held, own = budget(claim, radius, norm)
    require_settings(radius, norm, batch_size)
    if (held, own) != (radius, norm):
        raise BadInput(
            f"expected a claim within {norm} {radius:g}, got one within {own} {held:g}; give both "
            "the same radius and norm"
        )
    x, y, index = check_inputs(model, x, y, index)
    with noise.forked(x.device), eval_mode(model):
        noise.settle(seed)  # for a model that draws
        classes = clean_logits(model, x, y, batch_size).shape[1]
        _require_twin(twin, x, y, classes)
        random = output_spread(model, x[:100], batch_size)[1].any()
        judged = Averaged(model) if random else model
        patient = Patient(
            model=model, judged=judged, x=x, y=y, index=index, claim=claim, twin=twin,
            radius=radius, norm=norm, classes=classes, seed=seed, batch_size=batch_size,
        )  # fmt: skip
        return _examined(patient, depth, folder, progress, began)


def _require_twin(twin: Classifier | None, x: Images, y: Labels, classes: int) -> None:
    """Raises BadInput for a twin that cannot see these images, or of another number of classes."""
    if twin is None:
        return
    try:
        x, y, _ = check_inputs(twin, x[:1], y[:1])
        got = clean_logits(twin, x, 0 * y, None).shape[1]
    except BadInput as error:
        raise BadInput(f"of the twin: {error}") from None
    if got != classes:
        raise BadInput(f"expected a twin of {classes} classes, got one of {got}")


def _examined(
    patient: Patient,
    depth: Depth,
    folder: Path | str | None,
    progress: Progress | None,
    began: float,
) -> Diagnosis:
    """The claim, the evidence, and the adaptive attack that answers it."""
    spent: list[int] = []

    def run(attacks: Mapping[str, Attack], rows: Labels) -> Evaluation:
        seed = (patient.seed + len(spent)) % noise.SEEDS
        found = evaluate(
            patient.judged, patient.x[rows], patient.y[rows], attacks=attacks,
            radius=patient.radius, norm=patient.norm, batch_size=patient.batch_size,
            index=patient.index[rows], folder=folder, progress=progress, seed=seed,
        )  # fmt: skip
        spent.append(sum(one.passes for one in found.attacks))
        again = (patient.seed + len(spent)) % noise.SEEDS
        noise.settle(again)  # whether attacks were run or recalled
        return found

    everything = torch.arange(len(patient.x))
    name = str(described(patient.claim)["name"])
    claimed = run({name: patient.per_draw(patient.claim)}, everything)
    _require_images(name, claimed)
    evidence = gather(patient, claimed, depth, run)
    signs = tuple(findings(evidence))
    bridge = evidence.hidden or evidence.missed  # else there is nothing to pass straight through
    strongest = answer(
        [sign for sign in signs if bridge or sign.name != Sign.ZERO_GRADIENTS],
        radius=patient.radius, norm=patient.norm,
        steps=depth.climb, targets=depth.targets, twin=patient.twin, seed=patient.seed,
        queries=depth.search, images=patient.x.ndim == 4,
    )  # fmt: skip
    standing = claimed.worst_case.correct
    adaptive = run({"adaptive": strongest}, everything).worst_case.correct
    sample = {**evidence.remedies, "adaptive": adaptive[evidence.rows]}
    left = _left(standing & adaptive, evidence)
    held = _again(patient, standing, _looks(evidence, len(standing)))
    broken = _broken(standing, held, left, name, evidence)
    return Diagnosis(
        clean=claimed.clean, claimed=Standing(correct=standing), left=Standing(correct=left),
        claim=name, findings=(*signs, *broken), remedies=_remedies(evidence.claim, sample),
        evidence=evidence, passes=sum(spent), seconds=time.perf_counter() - began,
    )  # fmt: skip


def _require_images(name: str, claimed: Evaluation) -> None:
    """Raises BadInput for a claim most of whose images do not count."""
    one, images = claimed.attacks[0], len(claimed.clean.correct)
    if one.refused > images / 2:
        why = " and ".join(f"{count} {fault}" for fault, count in one.faults.items())
        raise BadInput(
            f"expected a claim whose images count, got {one.refused} of {images} from {name} that "
            f"do not ({why}); repair it"
        )


def _looks(evidence: Evidence, images: int) -> Labels:
    """How often each image was looked at beyond the claim: by the adaptive attack, those of the
    sample by every remedy, with steps and restarts at each doubling, a few by blind attacks."""
    looks = torch.ones(images, dtype=torch.int64)
    doubled = len(evidence.steps) + len(evidence.restarts) - 2
    others = [name for name in evidence.remedies if name not in ("more steps", "more restarts")]
    looks[evidence.rows] += doubled + len(others)
    looks[evidence.rows[list(evidence.few)]] += len(evidence.blind)
    return looks


def _again(patient: Patient, standing: Flags, looks: Labels) -> Flags:
    """What stands after the claim's images were looked at as often as those of all attacks were: a
    model that draws errs on some of them every time, whoever attacks it."""
    held = standing.clone()
    if not patient.random:
        return held
    adv = under_claim(patient)
    for turn in range(int(looks.max())):
        at = (held & (looks > turn)).nonzero().flatten()
        if len(at):
            some = at.to(adv.device)
            logits = predict(patient.judged, adv[some], patient.batch_size)
            held[at] = is_correct(logits, patient.y[some]).cpu()
    return held


def _left(standing: Flags, evidence: Evidence) -> Flags:
    """What stands after every attack, those on a part of the images too."""
    left = standing.clone()
    for flags in evidence.remedies.values():
        left[evidence.rows] &= flags
    few = evidence.rows[list(evidence.few)]
    for flags in evidence.blind.values():
        left[few] &= flags
    return left


def _remedies(claim: Flags, tried: Mapping[str, Flags]) -> tuple[Remedy, ...]:
    """What each takes from the claim, and from all others together, as shares of the sample."""
    found = []
    for name, flags in tried.items():
        rest = [claim, *(other for key, other in tried.items() if key != name)]
        others = torch.stack(rest).all(0)
        found.append(
            Remedy(
                name=name, alone=fraction(claim & ~flags), beyond=fraction(others & ~flags)
            )
        )  # fmt: skip
    return tuple(found)


def _broken(claim: Flags, held: Flags, left: Flags, name: str, evidence: Evidence) -> list[Finding]:
    """That the claim fell, and whether climbs along the gradient as it is fell as much of it: then
    the attack was weak, else the gradient hides something.

    held: what is left of the claim where its images are looked at as often as those of all attacks.
    """
    row = stronger(held, left)
    if row is None:
        return []
    again = f" ({row['claimed']:.1%} of as many draws)" if (held != claim).any() else ""
    best = climbed(evidence.claim, evidence.remedies)
    row["climbed"] = stronger(best, left[evidence.rows]) is None
    return [Finding(
        name=Sign.CLAIM_DOES_NOT_HOLD, evidence=row,
        meaning=f"{name} left {fraction(claim):.1%}{again}, the strongest attack on each image "
        f"{row['left']:.1%}",
        advice="quote the latter, as an upper bound",
    )]  # fmt: skip

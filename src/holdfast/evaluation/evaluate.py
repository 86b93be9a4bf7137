"""Attack a classifier, attack by attack, and say what is left of it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from holdfast import loss, noise
from holdfast import team as teams
from holdfast.errors import BadInput, choose
from holdfast.evaluation.doubts import budgets, doubts_of_results
from holdfast.evaluation.draft import draft_folder, recalled
from holdfast.evaluation.flags import doubts_of_model
from holdfast.evaluation.front import advanced, expanded, initial_front
from holdfast.evaluation.inputs import as_attacks, default_radius, require_settings
from holdfast.evaluation.judge import Case, budget, run_checked
from holdfast.evaluation.shares import joined, share
from holdfast.evaluation.store import marks
from holdfast.evaluation.suites import SUITES, Suite, Task, for_rows
from holdfast.model import check_inputs, clean_logits, fast_form, resolve_batch_size
from holdfast.result import Evaluation, Standing
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Progress

FEW = 4  # images on which the cheaper form of the model is compared with it


def evaluate(
    model: Classifier,
    x: Images,
    y: Labels,
    suite: str | None = None,
    *,
    attacks: Mapping[str, Attack] | None = None,
    cascade: bool = False,
    radius: float | None = None,
    norm: Norm | None = None,
    batch_size: int | None = None,
    index: Labels | None = None,
    seed: int = 0,
    keep: bool = False,
    folder: Path | str | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Clean accuracy and what each attack leaves of it.

    Args:
        model: images `[batch, channel, height, width]` in [0, 1] to logits of 2 classes or more;
            left as it was.
        x: images; converted to the dtype of the model's weights, which is float32 or float64. A
            function gets them as they are, but never narrower than float32.
        y: integer labels, from 0 to the number of classes - 1.
        suite: a named battery; None: `quick`, or `attacks`.
        attacks: attacks of your own by name. **Each keeps the budget that it states**, such as
            the 8/255 of a bare `PGD()`; `radius` and `norm` are what the others are checked
            against, and it is a finding where no attack reaches that far. One that has
            `minimal = True` looks for the nearest image of another class: what it returns may lie
            anywhere in the box, and an image counts as fooled where that is within the radius.
        cascade: attacks of your own see only the images that the ones before them left standing,
            as in AutoAttack, and one that names a parameter `start` is handed the image of
            largest margin that any of them offered; a suite knows for itself.
        radius, norm: the budget, pixel units of [0, 1]. None: the largest radius that `attacks`
            state in that norm, else 8/255 within linf; the norm that they all have, else linf.
        batch_size: images attacked together, None: 100 on a CPU, 1,000 elsewhere; results depend
            on it by rounding alone.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        seed: of the suite's random starts, and of what a random model draws from torch's
            generators, so that the same call gives the same numbers.
        keep: each attack's result holds the images that it returned, as `adv`.
        folder: where finished attacks are kept, so that an evaluation that is called again, killed
            or not, with the same weights, logits, images, attacks and seed goes on behind them.
            Functions are known by their code and the plain values that they hold on to.
        processes: that share the images; more than one run the same command again (extra `scale`).
        progress: called after each batch with (attack, images done, images).

    Raises BadInput: images, labels or a model that do not fit each other, pixels outside [0, 1],
    settings out of range, an unknown suite, a suite beside attacks of your own, a norm other than
    linf without a radius.
    """
    if suite is not None and attacks is not None:
        raise BadInput(f"expected a suite or attacks, got {suite!r:.60} and attacks; leave one out")
    if not isinstance(suite, str | None):
        raise BadInput(
            f"expected suite as a name out of {', '.join(SUITES)}, got {suite!r:.60}; give attacks "
            "of your own as attacks={name: attack}"
        )
    attacks = None if attacks is None else as_attacks(attacks)
    norm = _common(attacks) if norm is None else norm
    asked, radius = radius, _largest(attacks, norm) if radius is None else radius
    require_settings(radius, norm, batch_size)
    x, y, index = check_inputs(model, x, y, index)
    team = teams.join(processes, str(x.device))
    x, y, index = (share(part, team) for part in (x, y, index))
    progress = progress if team.leads else None

    def fought() -> Evaluation:
        noise.settle(seed)  # for a model that draws
        clean = clean_logits(model, x, y, batch_size)
        case = Case(
            model=model, fast=fast_form(model, x[:FEW]), x=x, y=y, index=index, clean=clean,
            radius=radius, norm=norm, batch_size=resolve_batch_size(batch_size, x),
            progress=progress,
        )  # fmt: skip
        own = Suite(attacks=attacks, cascade=cascade) if attacks is not None else None
        return _fought(case, own or _battery(case, suite or "quick", seed), seed, folder, keep)

    with noise.forked(x.device):
        whole = joined(team.gather_or_raise(fought))
    doubts = [*doubts_of_results(whole)]
    if attacks is not None:
        doubts += budgets(whole, asked)
    return replace(whole, findings=(*whole.findings, *doubts))


def _common(attacks: Mapping[str, Attack] | None) -> Norm:
    """The norm of those attacks of one's own that state one; linf where they differ."""
    own = [getattr(one, "norm", None) for one in (attacks or {}).values()]
    stated: list[Norm] = [norm for norm in own if norm is not None]
    return stated[0] if len(set(stated)) == 1 else "linf"


def _largest(attacks: Mapping[str, Attack] | None, norm: Norm) -> float:
    """The largest radius that the attacks state in this norm; the usual one where none does."""
    own = attacks.values() if attacks else ()
    stated = [budget(one, math.nan, norm) for one in own]
    known = [radius for radius, kind in stated if kind == norm and not math.isnan(radius)]
    return max(known) if known else default_radius(norm)


def _battery(case: Case, suite: str, seed: int) -> Suite:
    """The suite of this name for these images. Raises BadInput where there is none."""
    classes, pixels = case.clean.shape[1], case.x[0].numel()
    task = Task(radius=case.radius, norm=case.norm, classes=classes, pixels=pixels, seed=seed)
    made = choose(SUITES, suite, "a suite")(task)
    return made if case.x.ndim == 4 else for_rows(made)


def _fought(
    case: Case, battery: Suite, seed: int, folder: Path | str | None, keep: bool
) -> Evaluation:
    """All attacks of the battery, one after the other."""
    draft, front = draft_folder(folder, case, battery, seed), initial_front(case)
    right, results = front.standing, []
    for place, (name, attack) in enumerate(battery.attacks.items()):
        shown = (front.standing | (not battery.cascade)).nonzero().flatten()
        start = front.lead[shown] if battery.cascade else None
        judged = replace(case, radius=battery.radii.get(name, case.radius))
        noise.settle(noise.scramble(seed, noise.Stream.ATTACKED, place))
        run = partial(run_checked, name, attack, judged, shown, start)
        outcome = recalled(draft, f"{place:02d}-{name}", case, run)
        results.append(expanded(outcome, case, shown, front.standing, keep))
        front = advanced(front, case, shown, outcome)
    doubts = doubts_of_model(case, battery.attacks.values())
    return Evaluation(
        clean=Standing(correct=right.cpu()), attacks=tuple(results), adv=front.adv.cpu(),
        entropy=loss.entropy(case.clean).mean().item() / math.log(2),
        findings=(*battery.findings, *doubts), cascade=battery.cascade,
        norm=case.norm, radius=case.radius, marks=marks(case.x),
    )  # fmt: skip

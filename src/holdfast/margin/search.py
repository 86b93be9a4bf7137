"""How far images are from another class along rays: the boundary search, audited by itself."""

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from holdfast import kept, record
from holdfast import team as teams
from holdfast.errors import BadInput, choose, require_call, require_value
from holdfast.limits import ABOVE_0, COUNT, SHARE, require_range
from holdfast.loss import are_probabilities
from holdfast.margin.directions import Family, Orthonormal, known_directions
from holdfast.margin.job import TENSORS, Piece, RaySearch, passes_of, searched
from holdfast.margin.linear import Linear
from holdfast.margin.margins import Audit, Margins
from holdfast.margin.rays import PIECE, Finder, Grid, Method, Rays, Scale
from holdfast.margin.screened import Screened
from holdfast.margin.traced import Traced
from holdfast.model import check_inputs, clean_logits, eval_mode, resolve_batch_size
from holdfast.result import fraction
from holdfast.team import Team
from holdfast.types import Classifier, Images, Labels, Progress

METHODS: dict[str, type] = {"linear": Linear, "traced": Traced, "screened": Screened}
SHARES, WHOLE = 16, 2**13  # so many pieces where there are rays enough; so many rays are one piece
ENDS = 0.9  # share of rays without another class, from which margins tell little
Reference = Literal["prediction", "label"]
log = logging.getLogger("holdfast")


def search(
    model: Classifier,
    x: Images,
    y: Labels,
    *,
    directions: Family | Tensor = Orthonormal(),  # noqa: B008
    method: str | Method = "traced",
    reach: float = 0.5,
    step: float = 0.02,
    scale: Scale = "rms",
    signs: Literal[1, 2] = 2,
    clip: bool = True,
    reference: Reference = "prediction",
    tolerance: float | None = None,
    audit: float = 0.01,
    batch_size: int | None = None,
    piece: int = PIECE,
    seed: int = 0,
    index: Labels | None = None,
    folder: Path | str | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Margins:
    """The first change of class on rays from each image (Song et al. 2019, arXiv 1909.05443,
    Algorithm 1; He et al. 2018).

    Args:
        model: images in [0, 1] to logits of 2 classes or more; left as it was.
        x: images `[batch, channel, height, width]`.
        y: integer labels.
        directions: a family (`holdfast.margin.directions`), any function like one, or a tensor
            `[direction, channel, height, width]`, with a first axis for images where each has its
            own. They are made unit vectors.
        method: `linear`, `traced`, `screened`, or one of those with settings.
        reach: how far to look, in `scale`; the papers have 0.5.
        step: the distance between two looks, in `scale`; the papers have 0.02 for MNIST and 2/255
            for CIFAR-10.
        scale: `rms`: a step of 1 changes a pixel by 1 in root mean square, as in the papers; `l2`.
        signs: 2 looks both ways along each direction, 1 only along it.
        clip: points are clipped to the pixel box before the model sees them (He et al. do);
            distances stay those before clipping.
        reference: the class that is left: the prediction at the image, or its label, as in
            Algorithm 1. A misclassified image then has margin 0.
        tolerance: bisect the last step until the distance is known to within this, in `scale`.
        audit: share of the rays that are searched again by `linear`; of few rays perhaps none.
        batch_size: points given to the model at once, None: 100 on a CPU, 1,000 elsewhere; results
            depend on it by rounding alone.
        piece: rays searched together and saved together at most, in whole images; results depend
            on it by rounding alone, memory does.
        seed: of directions and audit.
        index: position of each image in its data set, which keys directions and audit; None: 0, 1,
            2, ...
        folder: where finished pieces are kept, so that a killed search that is called again with
            the same weights, clean logits, images and settings goes on behind them. A function
            that is a family is known by its code and the plain values that it holds on to.
        processes: that share the pieces, which are the same for any number of them, and so is what
            is found; more than one run the same command again (extra `scale`).
        progress: called after each piece with ("search", images done, images).

    Raises BadInput: images, labels, directions or a model that do not fit each other, logits that
    are no numbers, settings out of range.
    """
    if not isinstance(clip, bool):
        raise BadInput(f"expected clip as True or False, got {clip!r:.60}")
    grid = Grid(reach=reach, step=step, scale=scale, clip=clip, signs=signs)
    _require(grid, reference, tolerance, audit, batch_size, piece)
    require_value("directions", directions, "margin.Orthonormal()", (Callable, Tensor))
    if not isinstance(directions, Tensor):
        require_call("directions", directions, ("model", "x", "y", "index", "seed"))
    finding = choose(METHODS, method, "a method")() if isinstance(method, str) else method
    require_value("method", finding, "margin.Traced()")
    x, y, index = check_inputs(model, x, y, index)
    if x.ndim != 4:
        raise BadInput(
            f"expected images [batch, channel, height, width], got {list(x.shape)}; reshape them, "
            "and give a model that flattens them"
        )
    team = teams.join(processes, str(x.device))
    logits = clean_logits(model, x, y, batch_size)
    _warn_of_probabilities(logits)
    with eval_mode(model):
        origin = y if reference == "label" else logits.argmax(1)
        job = RaySearch(
            model=model, x=x, index=index, clean=logits, origin=origin, family=directions,
            shared=known_directions(directions, model, x, origin, index, seed), grid=grid,
            audit=0.0 if isinstance(finding, Linear) else audit, tolerance=tolerance,
            batch=resolve_batch_size(batch_size, x), seed=seed,
        )  # fmt: skip
        found = _in_pieces(job, finding, piece, folder, team, progress)
    if team.leads:
        _warn_of_rays_that_end(found, grid)
    return Margins(
        **_whole(found, signs), origin=job.origin.cpu(), index=index.cpu(),
        classes=logits.shape[1], grid=grid, tolerance=tolerance,
        method=str(getattr(finding, "name", record.plain(finding))),
        audit=Audit(rays=sum(p.audited for p in found), differing=sum(p.differing for p in found)),
        forward=len(x) + sum(p.forward for p in found),
        seconds=sum(p.seconds for p in found),
    )  # fmt: skip


def _in_pieces(
    job: RaySearch,
    method: Method,
    size: int,
    folder: Path | str | None,
    team: Team,
    progress: Progress | None,
) -> list[Piece]:
    """All pieces in the order of their images, each read or searched."""
    sample = job.sample()
    finder = cache(lambda: method(sample))
    every = torch.arange(len(job.x), device=job.x.device)
    parts = every.split(_images_of_a_piece(len(every), sample.each, size))
    place = Path(folder) if folder else None
    where = kept.folder_of(place, "search", job.model, *_deciding(job, method))

    def share() -> dict[int, Piece]:
        mine: dict[int, Piece] = {}
        for number in range(team.rank, len(parts), team.size):
            images = parts[number]
            file = where and where / f"images-{int(images[0])}-{int(images[-1])}.safetensors"
            piece = kept.computed(file, partial(_piece, job, finder, sample, images))
            mine[number] = Piece(**piece)
            if progress and team.leads:
                progress("search", min(int(images[-1]) + 1, len(every)), len(every))
        return mine

    joined = {
        number: piece for part in team.gather_or_raise(share) for number, piece in part.items()
    }
    return [joined[number] for number in range(len(parts))]


def _images_of_a_piece(images: int, rays: int, size: int) -> int:
    """How many images a piece has; no matter how many processes, so that all find the same bits
    and each goes on behind the pieces of any other number."""
    share = max(WHOLE, images * rays // SHARES)
    return max(1, min(size, share) // rays)


def _piece(
    job: RaySearch, finder: Callable[[], Finder], sample: Rays, images: Labels
) -> record.Row:
    """The piece of these images. The one for which the method was prepared, on the sample, bears
    those passes too."""
    before = passes_of(sample)
    found = searched(job, finder, images)
    return vars(found) | {"forward": found.forward + passes_of(sample) - before}


def _deciding(job: RaySearch, method: Method) -> tuple[dict[str, Tensor], object]:
    """What decides the result, besides the model: tensors, and settings."""
    held = {"x": job.x, "origin": job.origin, "index": job.index, "clean": job.clean}
    if job.shared is not None:
        held["directions"] = job.shared
    family = None if isinstance(job.family, Tensor) else job.family
    return held, [family, method, job.grid, job.tolerance, job.audit, job.seed]


def _whole(found: Sequence[Piece], signs: int) -> dict[str, Tensor]:
    """The pieces' tensors as `[image, direction, sign]`."""
    return {
        name: torch.cat([getattr(piece, name) for piece in found]).unflatten(1, (-1, signs))
        for name in TENSORS
    }


def _warn_of_rays_that_end(found: Sequence[Piece], grid: Grid) -> None:
    """Say it where next to all rays meet no other class: then the reach is what is measured."""
    none = fraction(torch.cat([piece.entered.flatten() < 0 for piece in found]))
    if none > ENDS:
        log.warning(
            "%.0f %% of the rays meet no other class within a reach of %g (%s), at which they "
            "count: search with more reach", 100 * none, grid.reach, grid.scale,
        )  # fmt: skip


def _warn_of_probabilities(logits: Tensor) -> None:
    if are_probabilities(logits):
        log.warning(
            "the model seems to return probabilities; margins are the same, but give logits: "
            "saturated probabilities hide from `traced` and `screened` how near a change is"
        )


def _require(
    grid: Grid,
    reference: str,
    tolerance: Any,
    audit: Any,
    batch_size: Any,
    piece: Any,
) -> None:
    """Raises BadInput for settings out of range."""
    for name, value in (("reach", grid.reach), ("step", grid.step), ("tolerance", tolerance)):
        require_range(name, value, ABOVE_0)
    if grid.steps < 1:
        raise BadInput(f"expected a step within the reach, {grid.reach}; got {grid.step}")
    if grid.steps >= 2**15:
        raise BadInput(
            f"expected at most 32,767 steps to a ray, got {grid.steps}; take longer ones"
        )
    named = (
        ("a scale", grid.scale, get_args(Scale)), ("signs", grid.signs, (1, 2)),
        ("a reference", reference, get_args(Reference)),
    )  # fmt: skip
    for what, value, known in named:
        if value not in known:
            raise BadInput(f"expected {what} out of {', '.join(map(str, known))}; got {value!r}")
    require_range("audit", audit, SHARE)
    for name, count in (("batch_size", batch_size), ("piece", piece)):
        require_range(name, count, COUNT)

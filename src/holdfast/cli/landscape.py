"""`holdfast landscape`: the losses of a trained run over planes, as numbers and as figures."""

from collections.abc import Sequence
from pathlib import Path

from holdfast import diagnosis, record, report
from holdfast.cli import runs, show
from holdfast.cli.options import asked, parse
from holdfast.types import Norm

SUPPLIED = frozenset({"model", "x", "y", "radius", "norm", "attack", "index", "folder", "progress"})
OWN = frozenset({"images", "radius", "norm", "batch_size", "seed"})
LABELS = {
    "attack": ("along the attack (1: one radius)", "random direction (1: one radius)"),
    "random": ("random direction (1: one radius)", "another (1: one radius)"),
    "weights": ("random direction (1: length of each filter)", "another"),
}


def landscape_options(
    run: str,
    *,
    images: int = 1,
    radius: float | None = None,
    norm: Norm | None = None,
) -> None:
    """Map losses and predictions over a plane through each image, or through the weights.

    Written to RUN/landscape: AXES.safetensors and AXES.json, and for each plane a contour figure
    with the predicted classes and a surface; what an earlier command left there of the same axes
    moves to RUN/landscape-NNN. A killed command that is started again goes on behind the last rows
    that it finished. Each plane costs size squared forward passes; the one through the weights as
    many for every image.

    Args:
        run: run folder written by holdfast train.
        images: how many, each class in proportion; 0: all.
        radius: 1 on the axes of an image and the budget of the attack, such as 8/255; by default
            the run's own adversary's, else 8/255.
        norm: of the radius, linf, l2 or l1; by default the run's own adversary's, else linf.
    """


def landscape(argv: Sequence[str]) -> None:
    functions = {
        landscape_options: frozenset(), diagnosis.landscape: SUPPLIED, runs.run_options: OWN,
    }  # fmt: skip
    o = parse("landscape", functions, {}, argv).values
    run = Path(o["run"])
    network = runs.network(o)
    split, named = runs.images(o, network.card)
    radius, norm = runs.budget(o)
    settings = asked(diagnosis.landscape, o, SUPPLIED)
    place, drafts = runs.place(o) / "landscape", runs.drafts(o, "landscape", {})
    with show.progress(o["json"]) as (bar, _):
        found = diagnosis.landscape(
            network, split.x, split.y, **settings, radius=radius, norm=norm,
            index=split.index, folder=drafts, progress=show.bars(bar),
        )  # fmt: skip
    with record.locked(place, wait=True):
        earlier = record.set_aside(place, f"{found.axes}[-.]*")
        found.save(place, {name: o[name] for name in ("checkpoint", "split", "seed")})
        _draw(found, place, o["run"])
    runs.done(drafts)
    if o["json"]:
        print(record.as_json(found.as_dict()))
        return
    size, far = len(found.places), found.places[-1].item()
    unit = "filter lengths" if found.axes == "weights" else f"{norm} radii of {radius:.4g}"
    print(
        f"{run}, {named}, {size} x {size} points, {far:g} {unit} to either side",
        found.table(), f"Figures in {place}", sep="\n",
    )  # fmt: skip
    show.moved(earlier)


def _draw(found: diagnosis.Landscape, place: Path, title: str) -> None:
    """Both figures of every plane."""
    through_images = found.axes != "weights"
    for i, name in enumerate(found.names):
        losses = {"cross-entropy": found.ce[i], "margin": found.margin[i]}
        labels, file = LABELS[found.axes], f"{found.axes}-{name}" if through_images else name
        said = f"{title}, {name}"
        report.contour(
            place / f"{file}-contour.png", found.places, losses, labels, said,
            classes=found.classes[i] if through_images else None,
            outside=found.outside[i] if through_images else None,
        )  # fmt: skip
        report.surface(place / f"{file}-surface.png", found.places, losses, labels, said)

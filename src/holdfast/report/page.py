"""One page of HTML for what run folders hold, with its pictures inside: a file to hand on."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput
from holdfast.report.beside import beside
from holdfast.report.chapter import chapter

HEAD = b"<!doctype html>"


def page(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Write the page about these runs, in one step, and give its path.

    Of each run it shows what is there: the verdict of its diagnosis, the newest evaluation by each
    battery, training curves, curves over budgets, margins, landscapes, rounds of retraining, its
    settings and where it came from. Nothing is computed anew, and nothing is loaded from elsewhere.
    What cannot be read is said in its place. Raises BadInput for no run, for a folder that is none,
    and where `out` is there and no page.
    """
    from jinja2 import Environment, StrictUndefined

    if isinstance(runs, (str, Path)) or not runs:
        raise BadInput(f"expected a list of run folders, one at least, got {runs!r:.60}")
    folders = list({Path(run).resolve(): Path(run) for run in runs}.values())
    _require_page(Path(out))
    chapters = [chapter(folder) for folder in folders]
    text = resources.files("holdfast.report").joinpath("page.html").read_text("utf-8")
    made = record.provenance()
    html = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    ).from_string(text).render(
        title=folders[0].resolve().name if len(folders) == 1 else f"{len(folders)} runs",
        version=made["holdfast"], time=made["time"][:16].replace("T", " "),
        beside=beside(folders), chapters=chapters,
    )  # fmt: skip
    record.write(Path(out).resolve(), html)
    return Path(out)


def _require_page(out: Path) -> None:
    """Raises BadInput where something else than an earlier page would be replaced."""
    if out.exists() and not (out.is_file() and out.read_bytes()[: len(HEAD)] == HEAD):
        raise BadInput(
            f"expected a new file or an earlier page, got {out}; name another with --out"
        )

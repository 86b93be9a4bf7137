"""`holdfast data`: what is where, and what is damaged."""

from collections.abc import Sequence

from holdfast import data as datasets
from holdfast import record
from holdfast.cli import show
from holdfast.cli.options import parse
from holdfast.result import Table


def data_options(*, data_root: str | None = None, json: bool = False) -> None:
    """List the data sets: what is where, what is missing, what is damaged.

    Args:
        data_root: folder of the data sets; else HOLDFAST_DATA, else a cache folder.
        json: print the list as JSON.
    """


def data(argv: Sequence[str]) -> None:
    options = parse("data", {data_options: frozenset()}, {}, argv).values
    found = datasets.survey(options["data_root"])
    if options["json"]:
        print(record.as_json(found))
        return
    rows = [
        [s.name, s.state, str(s.classes), f"{s.images:,}", "x".join(map(str, s.image)), s.detail]
        for s in found
    ]
    show.table(f"Data sets in {datasets.root_of(options['data_root'])}",
               Table(["name", "state", "classes", "images", "shape", ""], rows))  # fmt: skip

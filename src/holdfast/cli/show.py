"""What a person sees: a progress bar on a terminal, plain lines elsewhere, tables."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Drawn

from holdfast.model import is_own
from holdfast.record import Row
from holdfast.result import Table


class Training:
    """Follows a training run: steps as a bar with the time left, epochs as lines.

    begun: whether a step was taken, before which there may be no run folder.
    """

    def __init__(self, bar: Progress, console: Console, epochs: int, quiet: bool) -> None:
        self.bar, self.console, self.epochs, self.quiet = bar, console, epochs, quiet
        self.task, self.begun = bar.add_task("training", total=None), False

    def on_step(self, epoch: int, done: int, steps: int) -> None:
        self.begun, total = True, steps * self.epochs
        name = f"epoch {epoch + 1} of {self.epochs}"
        self.bar.update(self.task, total=total, completed=epoch * steps + done, description=name)

    def on_epoch(self, row: Row) -> None:
        if not self.quiet:
            self.console.print(epoch_line(row), highlight=False, soft_wrap=True)


def epoch_line(row: Row) -> str:
    """One epoch in a line: loss, accuracies as per cent, entropy in bits, speed."""
    cells = [f"epoch {row['epoch']:3d}", f"loss {row['loss']:.4f}"]
    for split in ("train", "validation"):
        measured = [(k, row.get(f"{split}_{k}")) for k in ("clean", "fgsm", "pgd")]
        said = " ".join(f"{name} {value:.1%}" for name, value in measured if value is not None)
        cells.append(f"{split}: {said}")
    entropy, speed = row["validation_entropy"], row["images_per_second"]
    return ", ".join([*cells, f"entropy {entropy:.2f} bits", f"{speed:.0f} images/s"])


def bars(bar: Progress) -> Callable[[str, int, int], None]:
    """Follows one thing after the other, such as attacks: a bar for each name."""
    tasks: dict[str, TaskID] = {}

    def said(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done)

    return said


@contextmanager
def progress(quiet: bool = False) -> Iterator[tuple[Progress, Console]]:
    """A bar on standard error while the block runs; nothing but lines where it is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(compact=True))  # fmt: skip
    hidden = quiet or not console.is_terminal
    bar = Progress(*columns, console=console, transient=True, disable=hidden)
    with nullcontext() if hidden else bar:  # else older rich prints empty lines
        yield bar, console


def moved(earlier: Path | None) -> None:
    """Where the results lie that stood in the place of new ones."""
    if earlier:
        print(f"Earlier results are now in {earlier}")


def model(name: str | None) -> str:
    """What a further command on a run of this model must be told: the code, where it is one's
    own."""
    return f" --model {name}" if name and is_own(name) else ""


def table(title: str, shown: Table) -> None:
    """A table on standard output, its first column to the left."""
    drawn = Drawn(title=escape(title), title_justify="left", title_style="bold")
    for i, name in enumerate(shown.head):
        drawn.add_column(escape(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in shown.rows:
        drawn.add_row(*map(escape, row))
    console = Console(width=None if sys.stdout.isatty() else 120)
    free = console.options.update(max_width=10_000)
    if (
        console.measure(drawn, options=free).maximum > console.width
    ):  # rather long lines than words in pieces
        print(title, shown, sep="\n")
    else:
        console.print(drawn)

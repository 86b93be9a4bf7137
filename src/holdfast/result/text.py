"""Tables as lines of text, and the cells of an accuracy."""

from collections.abc import Iterable, Sequence

from holdfast.result.finding import Finding
from holdfast.result.standing import Standing


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as lines of text, the first column to the left and the others to the right."""
    lines = [head, *rows]
    wide = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(line[1:], wide[1:], strict=True))]
        )
        for line in lines
    )


def doubted(text: str, findings: Iterable[Finding]) -> str:
    """A table, and below it what casts doubt on its numbers."""
    return "\n".join([text, *(f"warning: {finding}" for finding in findings)])


def cells(standing: Standing) -> tuple[str, str]:
    """The cells of a table that say an accuracy and its interval."""
    return f"{standing.accuracy:.1%}", str(standing.interval)

"""The command line: parse, call, print. Bad input is one line and exit code 2."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.cli.compare import compare
from holdfast.cli.curve import curve
from holdfast.cli.data import data
from holdfast.cli.demo import demo
from holdfast.cli.diagnose import diagnose
from holdfast.cli.evaluate import evaluate
from holdfast.cli.landscape import landscape
from holdfast.cli.margins import margins
from holdfast.cli.report import report
from holdfast.cli.retrain import retrain
from holdfast.cli.table import table
from holdfast.cli.train import train
from holdfast.cli.transfer import transfer
from holdfast.engine import keep_memory
from holdfast.errors import BadInput, choose
from holdfast.record import NO_ROOM, version
from holdfast.training import Diverged

PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
Command = Callable[[Sequence[str]], None]

COMMANDS: dict[str, tuple[Command, str]] = {
    "demo": (demo, "train five small classifiers, attack them, compare: a minute or two"),
    "data": (data, "list the data sets: what is where, what is damaged"),
    "train": (train, "train a classifier by reward or with labels, under attack or not"),
    "evaluate": (evaluate, "attack a trained classifier and say what is left"),
    "curve": (curve, "attack trained runs at each of several radii: accuracy over budgets"),
    "transfer": (transfer, "show the adversarial images of each of several runs to all of them"),
    "diagnose": (diagnose, "say whether the robustness is real, or a gradient that misleads"),
    "landscape": (landscape, "map the losses over planes through images or through the weights"),
    "margins": (margins, "measure how far images are from the decision boundary"),
    "retrain": (retrain, "train further on examples beyond that boundary"),
    "report": (report, "put what run folders hold on one page of HTML"),
    "compare": (compare, "say on which images evaluated runs differ, and how surely"),
    "table": (table, "put what attacks left of several runs side by side"),
}

AGAIN = "go on behind what was finished with the same words again"
GOES_ON = ("evaluate", "curve", "diagnose", "landscape", "margins", "retrain")


def usage() -> str:
    lines = [f"  {name:10}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: holdfast COMMAND [options]     (holdfast COMMAND --help for its options)",
            "",
            "Train image classifiers by feedback, and learn whether their robustness is real.",
            "",
            *lines,
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0, 1 (failed), 2 (bad input), 3 (diagnose --fail-on fired), 130
    (interrupted), 143 (by SIGTERM)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # a process of its own
        keep_memory()
        signal.signal(signal.SIGTERM, _terminated)
    logging.basicConfig(format="holdfast: %(message)s", level=logging.WARNING)
    return _run(words)


def _run(words: list[str]) -> int:
    name = words[0] if words else "help"
    try:
        if name in ("-h", "--help", "help", "--version"):
            print(f"holdfast {version()}" if name == "--version" else usage(), flush=True)
            return 0 if words else 2
        command, _ = choose(COMMANDS, name, "a command")
        command(words[1:])
        return 0
    except (BadInput, Diverged) as error:
        return _say(
            "; ".join([str(error), *_notes(error)]), 2 if isinstance(error, BadInput) else 1
        )
    except KeyboardInterrupt as error:
        code = 128 + (error.args[0] if error.args else signal.SIGINT)
        return _say("; ".join(filter(None, ("interrupted", _then(error, name)))), code)
    except BrokenPipeError:  # the reader of our output has gone: nothing to say, to nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _say(*_about_disk(error, _then(error, name) or "begin again"))
    except Exception as error:
        if os.environ.get("HOLDFAST_DEBUG"):
            raise
        told = "; ".join([f"{type(error).__name__}: {error}", *_notes(error)])
        return _say(f"failed: {told} (set HOLDFAST_DEBUG=1 to see where)", 1)
    except SystemExit as error:  # --help inside a command, or --fail-on
        return int(error.code or 0)


def _terminated(number: int, frame: object) -> None:
    """SIGTERM, as schedulers send it, is taken as Ctrl-C is."""
    raise KeyboardInterrupt(number)


def _notes(error: BaseException) -> list[str]:
    """What was noted on the error's way here."""
    return getattr(error, "__notes__", [])


def _then(error: BaseException, command: str) -> str:
    """How to go on: what was noted where it was raised, or what holds for all of the command."""
    return "; ".join(_notes(error)) or (AGAIN if command in GOES_ON else "")


def _about_disk(error: OSError, then: str) -> tuple[str, int]:
    """What to say of a path or a disk that fails, and the exit code; `then`: how to go on."""
    where = Path(error.filename).parent if error.filename else "the run folder"
    said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    if error.errno in NO_ROOM:
        text = (
            f"expected room on disk for {where}, got: {error.strerror}; what was complete is still "
            f"there: make room; {then}"
        )
        return text, 1
    if isinstance(error, PATHS) or error.errno in (errno.ENAMETOOLONG, errno.EROFS):
        return f"expected a path that can be used, got {said:.200}; correct it", 2
    return said, 1


def _say(text: str, code: int) -> int:
    print(f"holdfast: {' '.join(text.split())}", file=sys.stderr)
    return code

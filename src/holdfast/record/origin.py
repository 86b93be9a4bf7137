"""Who made a result, with what, where and when."""

import datetime
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from holdfast.record.settings import Row, plain


def provenance(**more: object) -> Row:
    """Who made this, with what, where and when: stored beside every result."""
    program = Path(sys.argv[0])
    as_module = program.name == "__main__.py"
    return {
        "holdfast": version(),
        "commit": commit(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join([program.parent.name if as_module else program.name, *sys.argv[1:]]),
    } | plain(more)


def version() -> str:
    """The installed version of holdfast."""
    from importlib.metadata import version as of

    return of("holdfast")


@functools.cache
def commit() -> str | None:
    """The commit of the source tree the package runs from; `+` marks uncommitted changes."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=package, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "__init__.py"):
            return None  # installed inside somebody else's repository
        changed = "+" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        return git("rev-parse", "--short=12", "HEAD") + changed
    except OSError:  # no git on this machine
        return None


@functools.cache
def cpu() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores"
        if hasattr(os, "sched_getaffinity")
        else name
    )

"""The tiny data sets as a fixture."""

import dataclasses
from pathlib import Path

import pytest
from tiny_files import FILES, stamp

from holdfast.data import sources


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a tiny mnist and cifar10, known to holdfast by their own digests."""
    for name, files in FILES.items():
        source = sources.SOURCES[name]
        for file, raw in files.items():
            path = tmp_path / source.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        stamps = {file: stamp(files[file]) for file in source.files}
        monkeypatch.setitem(sources.SOURCES, name, dataclasses.replace(source, files=stamps))
    return tmp_path

"""The tiny data sets as fixtures."""

import dataclasses
from pathlib import Path

import pytest
from tiny_files import FILES, stamp
from tiny_folders import fill

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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the maps of this test lie, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "holdfast" / "maps"


@pytest.fixture
def pets(tmp_path: Path, cache: Path) -> Path:
    """Three classes of images: 20 each in train, 3 in val, 4 in test."""
    root = tmp_path / "pets"
    for part, images in {"train": 20, "val": 3, "test": 4}.items():
        fill(root / part, "abc", images)
    return root

"""Experiments as data: what is trained, what is measured, what came out, what others published."""

from holdfast.study import demo, song

__all__ = ["demo", "song"]

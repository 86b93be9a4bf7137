"""Experiments as data: what is trained, what is measured, what came out."""

from holdfast.study import demo

__all__ = ["demo"]

"""A piece of text with its place on a page."""

from __future__ import annotations

from dataclasses import dataclass

WIDE_GAP = 1.0  # of the height of the text: what is further apart is not one span


@dataclass(slots=True)
class Span:
    """Text on one line, in points, y upwards. ``y`` is its baseline, ``size`` its height."""

    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool = False
    mono: bool = False

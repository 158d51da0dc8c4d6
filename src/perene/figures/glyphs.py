"""Small shapes that tell marks apart where colour does not."""

from __future__ import annotations

from enum import StrEnum

from perene.figures.html import Html, element


class EventKind(StrEnum):
    """What happened to a model."""

    RELEASE = "release"
    REJECTION = "rejection"
    INCONCLUSIVE = "inconclusive"
    ROLLBACK = "rollback"

    @property
    def sign(self) -> str:
        """Its glyph as a letter, for text."""
        return {"release": "▲", "rejection": "✗", "inconclusive": "◦", "rollback": "▽"}[self.value]

    def counted(self, count: int) -> str:
        """So many of them, in words."""
        plural = "" if count == 1 or self is EventKind.INCONCLUSIVE else "s"
        return f"{count} {self.value}{plural}"


_EVENTS = {
    EventKind.RELEASE: ("M0-6L6 5H-6Z", "fig-dot"),
    EventKind.REJECTION: ("M-5-5L5 5M-5 5L5-5", "fig-cross"),
    EventKind.INCONCLUSIVE: ("M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", "fig-hollow"),
    EventKind.ROLLBACK: ("M0 6L6-5H-6Z", "fig-hollow"),
}
_DOTS = (
    "M-3.5 0A3.5 3.5 0 1 0 3.5 0A3.5 3.5 0 1 0-3.5 0Z",
    "M-3.2-3.2H3.2V3.2H-3.2Z",
    "M0-4.8L4.8 0L0 4.8L-4.8 0Z",
    "M0-4.5L4.2 3.4H-4.2Z",
    "M0 4.5L4.2-3.4H-4.2Z",
)
SERIES = len(_DOTS)  # more lines than these nobody can tell apart


def event_glyph(kind: EventKind, x: float, y: float, *, name: str = "") -> Html:
    """An event's glyph around a place; ``name`` shows under a pointer."""
    path, look = _EVENTS[kind]
    return _at(x, y, path, f"fig-glyph {look}", name=name, around=f"fig-{kind.value}")


def dot(series: int, x: float, y: float, *, name: str = "", is_hollow: bool = False) -> Html:
    """A point of a series, counted from 1: each has a shape of its own."""
    look = "fig-hollow" if is_hollow else "fig-dot"
    return _at(x, y, _DOTS[series - 1], f"fig-glyph {look}", name=name)


def _at(x: float, y: float, path: str, look: str, *, name: str, around: str | None = None) -> Html:
    title = [element("title", name)] if name else []
    shape = element("path", *title, d=path, class_=look)
    return element("g", shape, transform=f"translate({x:.1f} {y:.1f})", class_=around)

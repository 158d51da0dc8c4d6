"""Which part a version had in a prediction.

The champion's and the canary's are answers. A shadow's never left the server: its id is made of the answered one, so
that ground truth that names the answer is about it too.
"""

from __future__ import annotations

CHAMPION, CANARY, SHADOW = "champion", "canary", "shadow"


def shadow_id(version: int, prediction_id: str) -> str:
    """The id of a shadow's prediction beside the one that was answered."""
    return f"{shadow_prefix(version)}{prediction_id}"


def shadow_prefix(version: int) -> str:
    """What stands before the answered id in a shadow's; no caller may give an id that begins so."""
    return f"{SHADOW}:{version}:"


def answered_id(prediction_id: str) -> str:
    """The id that was answered: of a shadow's the one beside it, else its own."""
    start, _, rest = prediction_id.partition(":")
    version, _, answered = rest.partition(":")
    return answered if start == SHADOW and version.isdecimal() and answered else prediction_id

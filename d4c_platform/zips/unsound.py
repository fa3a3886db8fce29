"""The one failure of this room."""

from __future__ import annotations

from d4c_platform.model.errors import PermanentFailure


class UnsoundZip(PermanentFailure):
    """A zip that is damaged, or that may do harm."""

    def __init__(self, what: str, **facts: str | None) -> None:
        remedy = "If the publisher's own file is broken, tell them; materialize this version again when it is repaired"
        super().__init__(what, **({"remedy": remedy} | facts))

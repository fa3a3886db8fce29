"""A publisher's own list of its datasets, as it was read last: one small document, `families/<family>.json` in the portal.

It is read by a scheduled job and used by every sensor tick. So it is plain data: eight thousand entries load in the time of a
blink, and nothing is validated twice (the job has).

Not here: how it is read (sources), or which datasets it makes (datasets.expansion).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from d4c_platform.model.errors import PermanentFailure

FORMAT = 1


class ListedTable(NamedTuple):
    """One table of the list. A tuple: thousands of them are made in every process.

    Attributes:
        released: when it was released last, as the start of a release key: what the table itself says, not the list.
        listed: what the list said then, word for word; while it says the same, the table is not asked again.
        area: DGUID of the area its first reading showed; it is part of the dataset id and never changes.
        since: its first reference period.
    """

    product_id: str
    title_en: str
    title_fr: str
    released: str
    listed: str
    area: str
    archived: bool
    frequency: str
    since: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """The list, and what it left open.

    Attributes:
        listed_at: when it was read, UTC. What was released later, it cannot know.
        before: when the list before was read.
        tables: by product id. A table that left the publisher's list stays: its versions are ours to keep.
        left_out: tables that make no dataset yet, each with the reason.
        words: `frequency.<code>` and `subject.<code>` to the publisher's English and French words.
    """

    listed_at: datetime
    before: datetime | None
    tables: Mapping[str, ListedTable]
    left_out: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        document = {
            "format": FORMAT,
            "listed_at": self.listed_at.isoformat(),
            "before": self.before.isoformat() if self.before else None,
            "fields": ListedTable._fields,
            "tables": [list(self.tables[product_id]) for product_id in sorted(self.tables)],
            "left_out": dict(sorted(self.left_out.items())),
            "words": dict(sorted(self.words.items())),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, body: bytes, file: str) -> Listing:
        """Read a stored list.

        Raises:
            PermanentFailure: it is damaged, or another release of the platform wrote it.
        """
        try:
            document: dict[str, Any] = json.loads(body)
            if document["format"] != FORMAT or tuple(document["fields"]) != ListedTable._fields:
                raise ValueError("it has another format")
            return cls(
                datetime.fromisoformat(document["listed_at"]),
                datetime.fromisoformat(document["before"]) if document["before"] else None,
                {row[0]: ListedTable._make((*row[:-1], tuple(row[-1]))) for row in document["tables"]},
                document["left_out"],
                {code: (words[0], words[1]) for code, words in document["words"].items()},
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PermanentFailure(
                f"this list of datasets cannot be read ({error})",
                where="families",
                file=file,
                kept="What was published stays",
                remedy="Run the job `refresh_families`; it writes the list anew when this one is deleted",
            ) from error

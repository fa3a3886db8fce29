"""Failures a person can act on, told apart by whether trying again can help.

Every error of the platform names what failed, for which dataset version, on which mirror or file, what was kept, and what
to do next. Rooms raise `PermanentFailure` or `TransientFailure` (or a subclass that adds facts), never a bare exception.
"""

from __future__ import annotations


class D4CError(Exception):
    """Something the platform could not do.

    Args:
        what: the failure as a sentence, without a trailing period.
        where: the source, mirror or stage it happened on, for instance ``zenodo``.
        dataset: id of the dataset concerned.
        version: id of the dataset version concerned; names the dataset too.
        file: the file, URL or object key concerned.
        kept: what is still true after the failure, for instance ``The previous latest stays``.
        remedy: what a person can do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        dataset: str | None = None,
        version: str | None = None,
        file: str | None = None,
        kept: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.dataset, self.version = what, where, dataset, version
        self.file, self.kept, self.remedy = file, kept, remedy

    def about(
        self,
        *,
        dataset: str | None = None,
        version: str | None = None,
        where: str | None = None,
        kept: str | None = None,
    ) -> D4CError:
        """Fill in what a deeper room could not know; what is already said stays."""
        self.dataset, self.version = self.dataset or dataset, self.version or version
        self.where, self.kept = self.where or where, self.kept or kept
        return self

    def __str__(self) -> str:
        subject = self.version or self.dataset
        parts = [p for p in (self.where, subject, self.file) if p]
        sentences = [": ".join([*parts, self.what])]
        sentences += [s for s in (self.kept, self.remedy) if s]
        return " ".join(s if s.endswith((".", "?", "!")) else f"{s}." for s in sentences)


class PermanentFailure(D4CError):
    """The same step on the same input fails again: a person or the publisher has to change something."""


class TransientFailure(D4CError):
    """Trying again later can help.

    Args:
        retry_after_s: seconds the remote service asked us to wait, when it did.
    """

    def __init__(self, what: str, *, retry_after_s: float | None = None, **facts: str | None) -> None:
        super().__init__(what, **facts)
        self.retry_after_s = retry_after_s

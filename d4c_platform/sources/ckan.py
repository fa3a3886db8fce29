"""Packages of CKAN portals (open.canada.ca, cities): the source kind `ckan`.

A portal tells little of its files. `metadata_modified` moves when somebody corrects a comma and stays when a linked file is
replaced; a resource's `hash` is usually empty and its `last_modified` null. So what tells one release from another is each
resource's own file, as its server speaks of it (served_file); what CKAN says is kept as a hint. It decides in one case only: a
large file without validators (a datastore dump), of which nothing but the start is read to notice it. There CKAN's word starts
a look, because being blind is worse than looking in vain.

A resource may move to another address: the file is what counts, and the address is asked for each time. Addresses come from
the portal and not from the declaration, so one that leads into a private network is refused.

Files are named after their resources, because a portal gives a new name with every upload.

Not here: the portal's protocol (ckan_api).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.model.sources import CkanSource
from d4c_platform.sources.ckan_api import WHERE, Portal, in_languages
from d4c_platform.sources.documents import canonical_json
from d4c_platform.sources.hops import is_private
from d4c_platform.sources.looks import Looks
from d4c_platform.sources.served_file import ZIPPED, Validators, accept, probe, safe_name, unseen
from d4c_platform.sources.source import Answer, Expect, Noticed, OtherState, SourceSettings, SourceUrl
from d4c_platform.web import Web, without_query

DOCUMENT = "ckan-package.json"
SAID = ("last_modified", "metadata_modified", "hash", "size")
"""What CKAN says of a resource, as far as it says something."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One declared resource, as the portal and the file's server speak of it now.

    Attributes:
        said: by CKAN: hints.
        file: by the file's server.
    """

    id: str
    url: str
    said: Mapping[str, str]
    file: Validators

    @property
    def state(self) -> dict[str, str]:
        """What tells this state from another, by hint."""
        said = {} if self.file.tell_all else {f"ckan_{name}": value for name, value in self.said.items()}
        return {f"{self.id}.{name}": value for name, value in {**self.file.hint, **said}.items()}

    @property
    def hint(self) -> dict[str, str]:
        said = {f"{self.id}.ckan_{name}": value for name, value in self.said.items()}
        return {f"{self.id}.url": without_query(self.url), **said}

    @property
    def modified(self) -> datetime | None:
        """The file's date; CKAN's, when the server has none."""
        return self.file.last_modified or _utc(self.said.get("last_modified"))

    def same(self, hint: Mapping[str, str]) -> bool:
        """Whether a seen release had this resource in this very state."""
        mine = _of(hint, self.id)
        if not self.file.same(Validators.from_hint(mine)):
            return False
        return self.file.tell_all or all(mine.get(f"ckan_{name}") == value for name, value in self.said.items())


@dataclass(frozen=True, slots=True)
class Look:
    """A package and its declared resources at one moment."""

    about: Mapping[str, str]
    resources: tuple[Resource, ...]


SHARED: Looks[Look] = Looks()
"""The process's own."""


class Ckan:
    """The source kind `ckan`.

    Attributes:
        LOOK_HOLDS: a look costs a request for the package and one for each file, and portals are slow.
        HASHED_BYTES: at most this much is read of a file without validators (a datastore dump) to notice it.
    """

    kind: ClassVar[str] = "ckan"
    LOOK_HOLDS: ClassVar[timedelta] = timedelta(hours=1)
    HASHED_BYTES: ClassVar[int] = 64 * 1024**2

    def __init__(self, web: Web, settings: SourceSettings | None = None) -> None:
        self._web, self._remember = web, (settings or SourceSettings()).remember

    @classmethod
    def open(cls, web: Web, settings: SourceSettings) -> Self:
        return cls(web, settings)

    def detect(
        self, dataset: Dataset, since: date | datetime | None, seen: Sequence[Candidate], now: datetime
    ) -> list[Noticed]:
        """The present state of the declared resources' files, when it is none of the seen ones."""
        declared = _declared(dataset)
        # A stand-in's past can change, so what was seen of it does not hold.
        remember = self._web.route(declared.portal) == declared.portal if self._remember is None else self._remember
        what = "\n".join((declared.portal, declared.package, dataset.transform.kind, *declared.resources))
        last = SHARED.last(what, now, self.LOOK_HOLDS) if remember else None
        look = last or self._look(dataset, declared)
        dates = [moment for resource in look.resources if (moment := resource.modified) is not None]
        noticed = unseen(
            {name: value for resource in look.resources for name, value in resource.state.items()},
            max(dates, default=None),
            seen,
            now,
            same=lambda hint: all(resource.same(hint) for resource in look.resources),
            more={**look.about, **{n: v for resource in look.resources for n, v in resource.hint.items()}},
        )
        if remember and last is None and not noticed:
            SHARED.keep(what, now, look)
        return noticed

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The file of each declared resource, and the package as the portal describes it."""
        declared = _declared(dataset)
        portal = Portal(self._web, declared.portal)
        package, response = portal.package(declared.package)
        files = [
            self._file(dataset, declared, portal.resource(package, resource_id), candidate)
            for resource_id in declared.resources
        ]
        answer = Answer(canonical_json(package), response.status_code, response.headers)
        address = portal.package_url(declared.package)
        # Its dates move without the data, so it does not count when releases are compared.
        return [*files, SourceUrl(DOCUMENT, address, Expect.JSON, in_content=False, answer=answer)]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Nothing to ask: each answer that brought a file has said which state it is."""

    def _look(self, dataset: Dataset, declared: CkanSource) -> Look:
        portal = Portal(self._web, declared.portal)
        package, _ = portal.package(declared.package)
        found = []
        for resource_id in declared.resources:
            resource = portal.resource(package, resource_id)
            url = self._address(declared, resource)
            expect = _expected(dataset, url)
            file = probe(self._web, url, where=WHERE, expect=expect, hashed_bytes=self.HASHED_BYTES)
            said = {name: str(resource[name]) for name in SAID if resource.get(name)}
            if not said and package.get("metadata_modified"):  # the only word there is
                said = {"package_metadata_modified": str(package["metadata_modified"])}
            found.append(Resource(resource_id, url, said, file))
        return Look(_about(package), tuple(found))

    def _file(self, dataset: Dataset, declared: CkanSource, resource: Mapping[str, Any], candidate: Candidate) -> SourceUrl:
        url = self._address(declared, resource)
        expect = _expected(dataset, url)
        mine = _of(candidate.hint, str(resource["id"]))
        noticed = Validators.from_hint(mine)
        moved_from = mine.get("url") if mine.get("url") != without_query(url) else None
        if moved_from is not None and not (noticed.sha256 or noticed.say_something):
            raise _moved(moved_from, url)
        acceptable = partial(_accept, noticed, url, moved_from)
        return SourceUrl(_name(resource, url, expect), url, expect, sha256=noticed.sha256, accept=acceptable)

    def _address(self, declared: CkanSource, resource: Mapping[str, Any]) -> str:
        """Where the resource's file lies.

        Raises:
            PermanentFailure: it has no address, or one that a portal has no business to send us to.
        """
        url = str(resource.get("url") or "").strip()
        about = f"{declared.package}/{resource['id']}"
        if urlsplit(url).scheme.lower() not in {"http", "https"}:
            raise PermanentFailure(
                f"the resource has no web address ({without_query(url) or 'none at all'})",
                where=WHERE,
                file=about,
                kept="The previous latest stays",
                remedy="Look at the resource on its portal; tell the publisher, or declare another resource",
            )
        chosen_here = is_private(urlsplit(declared.portal).hostname or "") or self._web.route(url) != url
        if is_private(urlsplit(url).hostname or "") and not chosen_here:
            raise PermanentFailure(
                f"the portal says that the resource lies in a private network ({without_query(url)})",
                where=WHERE,
                file=about,
                kept="Nothing was asked there; the previous latest stays",
                remedy="Tell the portal's operators; the address is wrong, or somebody else changed it",
            )
        return url


def _accept(noticed: Validators, url: str, moved_from: str | None, headers: Mapping[str, str]) -> None:
    try:
        accept(noticed, url, WHERE, headers)
    except OtherState as other:
        raise _moved(moved_from, url) if moved_from is not None else other from other


def _moved(moved_from: str, url: str) -> OtherState:
    return OtherState(
        f"the resource has moved from {moved_from} since this release was noticed, and what lies here now is another file",
        where=WHERE,
        file=without_query(url),
        remedy="Withdraw this version; the newer file is noticed on its own",
    )


def _declared(dataset: Dataset) -> CkanSource:
    if not isinstance(dataset.source, CkanSource):
        raise PermanentFailure(f"its source is a {dataset.source.kind}, not a ckan", dataset=dataset.id)
    return dataset.source


def _expected(dataset: Dataset, url: str) -> Expect:
    zipped = dataset.transform.kind in ZIPPED or urlsplit(url).path.lower().endswith(".zip")
    return Expect.ZIP if zipped else Expect.ANY


def _name(resource: Mapping[str, Any], url: str, expect: Expect) -> str:
    """The resource's id with the extension of what it is: the same at every release, and unlike any other's."""
    if expect is Expect.ZIP:
        return f"{resource['id']}.zip"
    suffix = re.search(r"\.([A-Za-z][A-Za-z0-9]{1,8})$", urlsplit(url).path)  # a dump's address has none
    kind = suffix[1].lower() if suffix else re.sub(r"[^a-z0-9]", "", str(resource.get("format") or "").lower())
    return safe_name(f"{resource['id']}.{kind}")


def _about(package: Mapping[str, Any]) -> dict[str, str]:
    """What the portal says of the package in its own words and languages: provenance."""
    titles = in_languages(package.get("title_translated"), package.get("title"))
    keywords = in_languages(package.get("keywords"), [tag.get("name") for tag in package.get("tags") or ()])
    said = {f"title.{language}": words for language, words in titles.items()}
    said |= {f"keywords.{language}": words for language, words in keywords.items()}
    said |= {"package": str(package.get("id") or ""), "metadata_modified": str(package.get("metadata_modified") or "")}
    return {name: value for name, value in said.items() if value}


def _of(hint: Mapping[str, str], resource_id: str) -> dict[str, str]:
    prefix = f"{resource_id}."
    return {name.removeprefix(prefix): value for name, value in hint.items() if name.startswith(prefix)}


def _utc(text: str | None) -> datetime | None:
    """A time of CKAN's: UTC, though it does not say so. None when it is no time."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC) if moment else None

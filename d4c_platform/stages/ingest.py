"""A release that is a folder of files: from a publisher's list into the portal, an inventory and a torrent, in one pass.

Where things lie, below `raw/<dataset-id>/<release>/`:

    files/<dataset-id>_<release>/<path>     the files, immutable; the folder has the torrent's name, as BEP 19 wants it
    ingest/<run>-<n>.jsonl                  the journal: a line for each finished file, in segments

and, archived like the files of any release (sources.raw):

    list.txt                                the list, as received
    SHA256SUMS                              the release's content: what two releases are compared by
    inventory.parquet                       everything that is known of every file
    <dataset-id>_<release>.torrent          the folder torrent, whose web seed is `…/files/` in the portal

A file counts as finished when its line is in the journal, which is after its object. So a killed run, started again, fetches
nothing twice but the files that were in flight (being fetched, or being noted: at most twice `concurrency`), and unfinished
uploads of the run before are ended first (one run a release: Dagster's partition sees to that). The list is the archived one,
so that a publisher who changes it in the meantime does not mix two releases; whether it did is asked once more at the end,
and so is the sample (sources.file_list).

The archive (sources.archive) sees the inventory and its companions as files of the release that take many requests to
harvest. Memory is that of the parts under way: `concurrency` times two parts of usually 16 MiB.

Not here: one file (ingest_file), what is done (ledger, storage.journal), the archive's own steps (sources.archive).
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate, Release
from d4c_platform.model.sources import FileListSource
from d4c_platform.sources.detection import release_key
from d4c_platform.sources.file_list import FileList, declared, read, refuse_private
from d4c_platform.sources.listing import WHERE, Listed, lines_of, listed
from d4c_platform.sources.raw import ReleaseFolder
from d4c_platform.sources.receipt import receive
from d4c_platform.sources.registry import open_source
from d4c_platform.sources.source import Answer, Offer, OtherState, SourceUrl
from d4c_platform.stages.ingest_file import Destination, ingest_file
from d4c_platform.stages.ledger import Ledger, disk_troubles
from d4c_platform.stages.platform import Platform
from d4c_platform.storage.journal import Journal
from d4c_platform.storage.portal import Portal
from d4c_platform.torrents.folder import FolderFile, FolderTorrent, compose_folder, folder_piece_length
from d4c_platform.torrents.publish import Folder
from d4c_platform.transforms import inventory
from d4c_platform.web import Web, without_query

SUMS = "SHA256SUMS"
TORRENT = ".torrent"
MOST_FAILURES = 50  # files that failed: then the trouble is not theirs, and the rest is left for the next run
NAMED_FAILURES = 5  # in the message, with their reasons
READ_CHUNK = 1 << 20


@contextmanager
def offer_of(
    platform: Platform, dataset: Dataset, candidate: Candidate, workdir: Path, *, again: bool = False
) -> Iterator[Offer]:
    """Where a release comes from: its source, or for a folder of files the ingest that brings them.

    Args:
        workdir: on local disk, for the ingest's working files.
        again: the release is fetched again, beside what is archived of it.
    """
    if not isinstance(dataset.source, FileListSource):
        yield open_source(dataset, platform.web, platform.sources)
        return
    folder = release_key(candidate)
    if again:
        folder = free_folder(dataset.id, folder, platform.portal)
    trackers = platform.settings.trackers
    with Ingest(dataset, candidate, platform.web, platform.portal, folder, workdir, trackers=trackers) as ingest:
        yield ingest


class Ingest:
    """One release that is a folder, as the archive sees it. A context manager.

    Args:
        folder: under `raw/<dataset-id>/`, where the archive keeps this release.
        workdir: for the ledger and the inventory while it is written.
        trackers: announce URLs of the folder torrent.
    """

    def __init__(
        self,
        dataset: Dataset,
        candidate: Candidate,
        web: Web,
        portal: Portal,
        folder: str,
        workdir: Path,
        *,
        trackers: Sequence[str] = (),
    ) -> None:
        self._dataset, self._candidate, self._web, self._portal = dataset, candidate, web, portal
        self._workdir, self._trackers = workdir, trackers
        self._listing = FileList(web)
        self._folder, self._key = folder, partial(portal.received_key, dataset.id, folder)
        self.name = f"{dataset.id}_{folder}"
        estimate = candidate.hint.get("estimated_bytes")
        # The piece length is part of every hash: what it is decided by stands in the ledger of releases and never changes.
        files = max(1, int(candidate.hint.get("files", "1")))
        self.piece_length = folder_piece_length(files, int(estimate) if estimate else None)
        self._open = ExitStack()
        self._asked = False

    at_once = 1
    """The list is archived before the files are fetched that it names, and what is made of them after the last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    @property
    def prefix(self) -> str:
        """Of every file's key."""
        return self._key(f"files/{self.name}/")

    def files(self, dataset: Dataset, candidate: Candidate) -> list[SourceUrl]:
        """The list as received, and what the ingest makes of it; only the sums are content, the rest may differ."""
        (received,) = self._listing.files(dataset, candidate)
        return [
            received,
            SourceUrl(SUMS, received.url, harvest=self._write_sums),
            SourceUrl(inventory.INVENTORY, received.url, harvest=self._write_inventory, in_content=False),
            SourceUrl(self.name + TORRENT, received.url, harvest=self._write_torrent, in_content=False),
        ]

    def confirm(self, dataset: Dataset, candidate: Candidate) -> None:
        """Asked before the first file and after the last; what is written from the journal needs no publisher."""
        if not self._asked:
            self._listing.confirm(dataset, candidate)
        self._asked = True

    @cached_property
    def _ledger(self) -> Ledger:
        """The archived list with what is finished of it."""
        ledger = self._open.enter_context(Ledger(self._workdir / "ledger.sqlite"))
        source = declared(self._dataset)
        reading = read(self._lines(), source)
        if reading.sha256 != self._candidate.hint.get("list_sha256"):
            raise OtherState(
                "the list is not the one that was noticed",
                where=WHERE,
                file=without_query(source.url),
                remedy="Withdraw this version; the present list is noticed on its own",
            )
        files = listed(self._lines(), source.base)
        ledger.enter(self._public(files))
        for step in self._journal.steps():
            if step["piece_length"] == self.piece_length:
                ledger.note(step)
        return ledger

    @cached_property
    def _journal(self) -> Journal:
        return self._open.enter_context(Journal(self._portal.store, self._key("ingest/")))

    def _public(self, files: Iterator[Listed]) -> Iterator[Listed]:
        source = declared(self._dataset)
        for file in files:
            refuse_private(self._web, source, (file.url,))
            yield file

    def _lines(self) -> Iterator[bytes]:
        with self._list.open("rb") as stream:
            yield from lines_of(iter(partial(stream.read, READ_CHUNK), b""))

    @cached_property
    def _list(self) -> Path:
        """The list on local disk: as it is archived, or as the publisher has it now when it is fetched again.

        It is read twice, once to see that it is the noticed one and once for its files: both have to be of the same bytes.
        """
        path = self._workdir / "list.reading"
        (offered,) = self._listing.files(self._dataset, self._candidate)
        release = release_key(self._candidate)
        again = self._folder != release
        archived = ReleaseFolder(self._portal, self._dataset.id, release, again=again).received(offered)
        if archived is None:
            receive(self._web, offered, path)
        else:
            with self._portal.store.open(archived.key) as stream, path.open("wb") as out:
                shutil.copyfileobj(stream, out, READ_CHUNK)
        return path

    def _write_sums(self, out: BinaryIO) -> Answer:
        """Fetch all files that are not there yet; then what they are, as `sha256sum --check` reads it."""
        with disk_troubles():
            self._fetch_unfinished()
            out.writelines(f"{step['sha256']}  {step['path']}\n".encode() for step in self._ledger.finished())
        return _answer()

    def _write_inventory(self, out: BinaryIO) -> Answer:
        path = self._workdir / "inventory.writing"
        total, _ = self._ledger.counts()
        facts = {"folder": self.prefix, "listed": total, "info_hash": self._compose(None).info_hash}
        rows = ({**step, "key": self.prefix + step["path"]} for step in self._ledger.finished())
        inventory.write_raw(path, rows, total, facts)
        with path.open("rb") as file:
            shutil.copyfileobj(file, out, READ_CHUNK)
        path.unlink()
        return _answer()

    def _write_torrent(self, out: BinaryIO) -> Answer:
        self._compose(out)
        return _answer()

    def _compose(self, out: BinaryIO | None) -> FolderTorrent:
        def files() -> Iterator[FolderFile]:
            for step in self._ledger.finished():
                yield FolderFile(step["path"], base64.b64decode(step["pieces"]), step["bytes"])

        parent = self._portal.store.url(self._key("files")) + "/"
        with (self._workdir / "torrent.writing").open("wb") as nowhere:
            return compose_folder(
                out or nowhere,
                self.name,
                self.piece_length,
                files,
                web_seeds=[parent],
                trackers=[[tracker] for tracker in self._trackers],
            )

    def _fetch_unfinished(self) -> None:
        total, done = self._ledger.counts()
        if done == total:
            return
        self._portal.store.drop_uploads(self.prefix)
        self._asked = False  # what is fetched now has to belong to the release in the end, too
        to = Destination(self._portal.store, self.prefix, self.piece_length, alone=total == 1)
        failures = self._transfer(to, declared(self._dataset).concurrency)
        if failures:
            raise self._failed(failures)

    def _transfer(self, to: Destination, width: int) -> list[tuple[str, D4CError]]:
        """Fetch what is unfinished; returns what failed.

        While lines are written to the journal the workers go on: besides the `width` files that are fetched, at most as many
        are stored and not yet noted.
        """
        failures: list[tuple[str, D4CError]] = []
        fetching: dict[Future[dict[str, Any]], Listed] = {}
        noting: dict[Future[None], dict[str, Any]] = {}
        unfinished = self._ledger.unfinished()
        with ThreadPoolExecutor(width, thread_name_prefix="ingest") as pool:
            while True:
                while max(len(fetching), len(noting)) < width and len(failures) < MOST_FAILURES:
                    if (file := next(unfinished, None)) is None:
                        break
                    fetching[pool.submit(ingest_file, self._web, file, to)] = file
                if not fetching and not noting:
                    return failures
                under_way: list[Future[Any]] = [*fetching, *noting]
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    path = fetching[done].path if done in fetching else noting[done]["path"]
                    try:
                        if done in fetching:
                            del fetching[done]
                            step = done.result()
                            noting[self._journal.add(step)] = step
                        else:
                            step = noting.pop(done)
                            done.result()
                            self._ledger.note(step)
                    except D4CError as error:
                        failures.append((path, error))

    def _failed(self, failures: list[tuple[str, D4CError]]) -> D4CError:
        """One failure for all files: worth another run by itself only when time alone may mend every one of them."""
        total, done = self._ledger.counts()
        told = "; ".join(f"{path}: {error.what}" for path, error in failures[:NAMED_FAILURES])
        more = f"; and {len(failures) - NAMED_FAILURES:,} more" if len(failures) > NAMED_FAILURES else ""
        stopped = ", then it was stopped" if len(failures) >= MOST_FAILURES else ""
        what = f"{len(failures):,} of {total:,} files could not be fetched{stopped} ({told}{more})"
        facts = {
            "where": "ingest",
            "file": without_query(declared(self._dataset).url),
            "kept": f"{done:,} files are finished and stay; the next run goes on with the others",
        }
        if all(isinstance(error, TransientFailure) for _, error in failures):
            waits = [e.retry_after_s for _, e in failures if isinstance(e, TransientFailure) and e.retry_after_s is not None]
            return TransientFailure(
                what, retry_after_s=max(waits, default=None), remedy="It is tried again on the next run", **facts
            )
        return PermanentFailure(
            what, remedy="Ask the publisher for these files or for a list without them, then materialize again", **facts
        )


def free_folder(dataset_id: str, release: str, portal: Portal) -> str:
    """A folder that nothing was ever stored in: what lies in the first one may be another state of the files."""
    folder, number = release, 1
    while next(iter(portal.store.list(portal.received_key(dataset_id, folder, ""))), None) is not None:
        number += 1
        folder = f"{release}.{number}"
    return folder


def folder_of(portal: Portal, release: Release) -> Folder | None:
    """The folder that an archived release is, as its torrent is published; None when the release is no folder."""
    if not any(file.name == inventory.INVENTORY for file in release.files):
        return None
    (torrent,) = (file for file in release.files if file.name.endswith(TORRENT))
    folder = torrent.name.removeprefix(f"{release.dataset_id}_").removesuffix(TORRENT)
    parent = portal.store.url(portal.received_key(release.dataset_id, folder, "files"))
    return Folder(portal.store.read(torrent.key), f"{parent}/")


def _answer() -> Answer:
    return Answer(b"", 200, {})

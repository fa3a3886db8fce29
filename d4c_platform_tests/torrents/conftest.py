import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from d4c_platform.model.records import Digests
from d4c_platform.storage.digests import digest
from d4c_platform.torrents.metainfo import Metainfo, compose, parse
from d4c_platform.web import Web
from d4c_platform_tests.torrents.sites import Site, site

VERSION = "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036_2025-06-11_v1.0.0"
NAME = f"{VERSION}.parquet"


@dataclass(frozen=True)
class Sample:
    """A file as a publisher has it, with its digests."""

    path: Path
    digests: Digests

    def torrent(self, *web_seeds: str, trackers=()) -> bytes:
        return compose(self.path.name, self.digests, web_seeds=web_seeds, trackers=trackers)

    @property
    def meta(self) -> Metainfo:
        return parse(self.torrent())


def make_sample(folder: Path, size: int, name: str = NAME) -> Sample:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(random.Random(size).randbytes(size))
    return Sample(path, digest(path)[0])


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """Two megabytes and a bit: 123 pieces of 16 KiB, the last one short."""
    return make_sample(tmp_path / "mirror", 2_000_003)


@pytest.fixture
def mirror(sample: Sample) -> Iterator[Site]:
    with site(sample.path.parent) as served:
        yield served


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(attempts=1, per_host_per_s=1000)
    yield client
    client.close()

"""A list's release is noticed when its content changes, at a bounded cost, and not when its looks do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Candidate
from d4c_platform.sandbox.generated import Generated
from d4c_platform.sources.file_list import FileList, read
from d4c_platform.sources.source import OtherState
from d4c_platform.web import Web
from d4c_platform_tests.stages.folders import LIST, candidate_of, folder_dataset, publisher

FILES = {f"{i % 4}/{i:03}.tif": Generated(1000 + i) for i in range(100)}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def there():
    with publisher(FILES) as served:
        yield served


@pytest.fixture
def web():
    client = Web(per_host_per_s=10_000, attempts=2, first_wait_s=0.01, timeout_s=20)
    yield client
    client.close()


def noticed(there, web, *seen: Candidate, **source) -> list:
    return FileList(web).detect(folder_dataset(there.url, **source), None, seen, NOW)


def test_a_look_asks_for_the_list_and_a_bounded_sample(there, web):
    (found,) = noticed(there, web, probes=7)
    heads = [r for r in there.log() if r["method"] == "HEAD"]
    assert len(heads) == len({r["path"] for r in heads}) == 7
    assert [r["path"] for r in there.log() if r["method"] == "GET"] == [f"/{LIST}"]
    assert (found.hint["files"], found.hint["probes"]) == ("100", "7")
    assert abs(int(found.hint["estimated_bytes"]) - sum(f.size for f in FILES.values())) < 10_000
    assert found.key.startswith("20250611T000100Z-")


def test_the_same_list_in_another_order_with_other_comments_is_no_release(there, web):
    seen = candidate_of(folder_dataset(there.url), web)
    there.lists[LIST] = b"# anew\n\n" + b"".join(sorted(there.lists[LIST].splitlines(keepends=True), reverse=True))
    assert noticed(there, web, seen) == []


def test_one_line_more_is_a_release(there, web):
    seen = candidate_of(folder_dataset(there.url), web)
    there.publish({**FILES, "more.tif": Generated(1)})
    (found,) = noticed(there, web, seen)
    assert found.key != seen.key


def test_a_file_of_the_sample_that_was_replaced_is_a_release(there, web):
    seen = candidate_of(folder_dataset(there.url), web)
    there.files.update({path: Generated(1, edition=2) for path in FILES})
    (found,) = noticed(there, web, seen)
    assert found.released_at > seen.released_at
    assert found.released_at == datetime(2025, 6, 11, 0, 2, tzinfo=UTC)


def test_the_sample_stays_the_same_while_the_list_grows(there):
    source = folder_dataset(there.url, probes=10).source

    def sample(count: int) -> set[str]:
        lines = (f"{there.url}/files/{i}.tif\n".encode() for i in range(count))
        return {entry.path for entry in read(lines, source).sample}

    assert len(sample(500) & sample(520)) >= 8
    assert sample(500) == sample(500)


def test_a_file_of_the_sample_that_is_not_served_is_told(there, web):
    there.files.clear()
    with pytest.raises(PermanentFailure, match="404"):
        noticed(there, web)
    assert noticed(there, web, probes=0)


def test_a_server_that_refuses_head_is_asked_for_one_byte(there, web):
    seen = candidate_of(folder_dataset(there.url), web)
    there.fault(kind="status", method="HEAD", status=405, times=-1)
    assert noticed(there, web, seen) == []
    assert {r["headers"].get("range") for r in there.asked()} == {"bytes=0-0"}


def test_a_release_whose_list_changed_is_not_confirmed(there, web):
    dataset = folder_dataset(there.url)
    seen = candidate_of(dataset, web)
    FileList(web).confirm(dataset, seen)
    there.publish({"only.tif": Generated(1)})
    with pytest.raises(OtherState):
        FileList(web).confirm(dataset, seen)


def test_a_public_list_cannot_name_files_in_a_private_network(there):
    dataset = folder_dataset("https://tiles.example.ca", base=None)
    there.lists[LIST] = b"http://169.254.169.254/latest/meta-data\n"
    web = Web(origins={"https://tiles.example.ca": there.url}, per_host_per_s=1000, attempts=1)
    with pytest.raises(PermanentFailure, match="private network"):
        FileList(web).detect(dataset, None, [], NOW)
    web.close()

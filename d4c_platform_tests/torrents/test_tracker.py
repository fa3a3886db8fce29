import ipaddress
import time
from urllib.parse import quote_from_bytes

import httpx
import libtorrent as lt
import pytest

from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.tracker import tracker_app
from d4c_platform.torrents.bencode import bdecode
from d4c_platform.torrents.client import session
from d4c_platform.torrents.swarm import Seeder, fetch

HASH = bytes(range(0, 260, 13))  # 20 bytes: zero, percent signs, plus, ampersand and bytes that are no UTF-8
OTHER = b"\xff&=+%#? \x00" + b"\x80" * 11


def raw(**query) -> str:
    return "&".join(f"{k}={quote_from_bytes(v, safe='') if isinstance(v, bytes) else v}" for k, v in query.items())


class Client:
    """Speaks to a tracker as a client does, with exact query bytes."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, query: str) -> dict:
        answer = httpx.get(httpx.URL(f"{self.url}/{path}", query=query.encode()))
        assert answer.status_code == 200
        return bdecode(answer.content)

    def announce(self, who: int, info_hash: bytes = HASH, **query) -> dict:
        usual = {"info_hash": info_hash, "peer_id": b"-TT0000-" + b"%012d" % who, "port": 6000 + who, "left": 1, "compact": 1}
        return self.get("announce", raw(**(usual | query)))

    def scrape(self, *hashes: bytes) -> dict:
        return self.get("scrape", "&".join(raw(info_hash=h) for h in hashes))[b"files"]


@pytest.fixture
def tracker():
    with serve(tracker_app(interval_s=1)) as served:
        yield Client(served.url)


def ports(reply: dict) -> set[int]:
    peers = reply[b"peers"]
    assert all(peers[i : i + 4] == ipaddress.ip_address("127.0.0.1").packed for i in range(0, len(peers), 6))
    return {int.from_bytes(peers[i + 4 : i + 6], "big") for i in range(0, len(peers), 6)}


def test_peers_of_one_swarm_are_told_of_each_other_and_not_of_themselves(tracker):
    assert ports(tracker.announce(1)) == set()
    assert ports(tracker.announce(2)) == {6001}
    assert ports(tracker.announce(1)) == {6002}


def test_info_hashes_are_bytes_not_text(tracker):
    tracker.announce(1, OTHER)
    tracker.announce(2, HASH)
    assert ports(tracker.announce(3, OTHER)) == {6001}
    assert set(tracker.scrape(OTHER, HASH)) == {OTHER, HASH}


def test_seeds_and_partial_seeds_are_told_only_of_those_who_want_data(tracker):
    tracker.announce(1, left=0)
    tracker.announce(2, left=5, event="paused")
    assert ports(tracker.announce(3, left=5)) == {6001, 6002}
    assert ports(tracker.announce(1, left=0)) == {6003}
    assert ports(tracker.announce(2, left=5, event="paused")) == {6003}


def test_counts_tell_seeds_partial_seeds_and_downloads_apart(tracker):
    tracker.announce(1, left=0)
    tracker.announce(2, left=5, event="paused")
    tracker.announce(3, left=5, event="started")
    reply = tracker.announce(4, left=5)
    assert (reply[b"complete"], reply[b"incomplete"]) == (1, 3)
    for _ in range(2):
        tracker.announce(4, left=0, event="completed")  # said twice, downloaded once
    assert tracker.scrape(HASH)[HASH] == {b"complete": 2, b"downloaded": 1, b"incomplete": 2, b"downloaders": 1}


def test_who_stops_is_forgotten_at_once(tracker):
    tracker.announce(1)
    tracker.announce(1, event="stopped")
    assert ports(tracker.announce(2)) == set()


def test_who_stays_silent_is_forgotten_after_three_intervals():
    with serve(tracker_app(interval_s=0)) as served:
        tracker = Client(served.url)
        tracker.announce(1)
        time.sleep(0.01)
        assert ports(tracker.announce(2)) == set()


def test_numwant_is_honoured(tracker):
    for who in range(1, 10):
        tracker.announce(who)
    assert len(ports(tracker.announce(20, numwant=3))) == 3
    assert len(ports(tracker.announce(20, numwant=0))) == 0
    assert len(ports(tracker.announce(20, numwant=-1))) == 9


def test_a_client_that_cannot_read_compact_peers_gets_a_list(tracker):
    tracker.announce(1)
    assert tracker.announce(2, compact=0)[b"peers"] == [
        {b"ip": b"127.0.0.1", b"peer id": b"-TT0000-000000000001", b"port": 6001}
    ]
    assert tracker.announce(2, compact=0, no_peer_id=1)[b"peers"] == [{b"ip": b"127.0.0.1", b"port": 6001}]


def test_a_client_cannot_announce_somebody_elses_address(tracker):
    tracker.announce(1, ip="203.0.113.5")
    assert ports(tracker.announce(2)) == {6001}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", b"info_hash is missing"),
        (raw(info_hash=b"short"), b"info_hash has 5 bytes, not 20"),
        (raw(info_hash=HASH), b"peer_id is missing"),
        (raw(info_hash=HASH, peer_id=b"x"), b"peer_id has 1 bytes"),
        (raw(info_hash=HASH, peer_id=bytes(20), port=0), b"port 0 is none"),
        (raw(info_hash=HASH, peer_id=bytes(20), port=70000), b"port 70000 is none"),
        (raw(info_hash=HASH, peer_id=bytes(20), port="x"), b"port is not a number"),
        (raw(info_hash=HASH, peer_id=bytes(20), port=1, event="exploded"), b"unknown event exploded"),
        (raw(info_hash=HASH) + "&" + raw(info_hash=OTHER), b"info_hash is given 2 times"),
    ],
)
def test_a_bad_request_gets_a_failure_reason(tracker, query, reason):
    assert reason in tracker.get("announce", query)[b"failure reason"]


def test_a_scrape_of_everything_is_refused(tracker):
    assert b"names the info_hash" in tracker.get("scrape", "")[b"failure reason"]


def test_a_whitelist_is_looked_at_for_every_request():
    allowed: set[str] = set()
    with serve(tracker_app(whitelist=allowed)) as served:
        tracker = Client(served.url)
        assert tracker.announce(1)[b"failure reason"] == b"this torrent is not tracked here"
        allowed.add(HASH.hex())
        assert b"interval" in tracker.announce(1)


def test_a_real_client_announces_scrapes_and_says_goodbye(sample, tmp_path):
    with serve(with_faults(tracker_app(interval_s=1))) as served:
        torrent = sample.torrent(trackers=[[f"{served.url}/announce"]])
        with Seeder(loopback=True) as seeder:
            seeder.add(torrent, sample.path)
            fetch(torrent, tmp_path / "out", timeout_s=30, loopback=True)
            counts = Client(served.url).scrape(bytes.fromhex(sample.meta.info_hash))
        said = [r["query"] for r in httpx.get(f"{served.url}/_sandbox/requests").json() if r["path"] == "/announce"]
    (swarm,) = counts.values()
    assert swarm[b"complete"] >= 1
    assert swarm[b"downloaded"] == 1
    assert [event for event in ("started", "completed", "stopped") if any(f"event={event}" in q for q in said)] == [
        "started",
        "completed",
        "stopped",
    ]


def test_a_real_client_reads_the_scrape(sample, tmp_path):
    with serve(tracker_app(interval_s=1)) as served, session(loopback=True, peers=True) as client:
        Client(served.url).announce(1, bytes.fromhex(sample.meta.info_hash), left=0)
        params = lt.load_torrent_buffer(sample.torrent(trackers=[[f"{served.url}/announce"]]))
        params.save_path = str(tmp_path)
        handle = client.add_torrent(params)
        handle.scrape_tracker()
        give_up = time.monotonic() + 20
        replies = []
        while not replies and time.monotonic() < give_up:
            client.wait_for_alert(500)
            replies = [(a.complete, a.incomplete) for a in client.pop_alerts() if isinstance(a, lt.scrape_reply_alert)]
        del handle, params
    assert replies
    assert replies[0][0] == 1

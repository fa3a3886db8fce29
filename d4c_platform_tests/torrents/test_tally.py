"""What is said of each source; the words are a user's only clue to which mirror to look at."""

import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.torrents.tally import LIED, Tally

A, B = "https://a.example.org/x", "https://b.example.org/x"


def test_a_web_seed_that_vanished_after_a_piece_failed_is_named_a_liar_before_the_client_says_so():
    tally = Tally([A, B], may_find_peers=False)
    tally.still_listed([B], pieces_failed=True)
    assert tally.failed_sources == (f"{A} {LIED}",)


def test_a_web_seed_that_vanished_for_another_reason_is_not_accused():
    tally = Tally([A], may_find_peers=False)
    tally.still_listed([], pieces_failed=False)
    assert tally.failed_sources == ()


def test_what_follows_a_lie_does_not_hide_it():
    tally = Tally([A], may_find_peers=False)
    tally.web_seed_failed(A, "peer banned")
    tally.web_seed_failed(A, "503 Service Unavailable")
    assert tally.failed_sources == (f"{A} {LIED}",)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("404 Not Found", PermanentFailure),
        ("peer banned", PermanentFailure),
        ("invalid HTTP range", PermanentFailure),
        ("429 Too Many Requests", TransientFailure),
        ("503 Service Unavailable", TransientFailure),
        ("Host not found", TransientFailure),
    ],
)
def test_whether_trying_again_can_help_follows_from_what_the_last_source_said(said, kind):
    tally = Tally([A, B], may_find_peers=False)
    tally.web_seed_failed(A, "404 Not Found")
    tally.web_seed_failed(B, said)
    assert type(tally.failure("it ended", file="x", kept="Nothing was kept")) is kind


def test_as_long_as_peers_may_come_nothing_is_hopeless():
    tally = Tally([A], may_find_peers=True)
    tally.web_seed_failed(A, "404 Not Found")
    assert not tally.hopeless
    assert isinstance(tally.failure("it ended", file="x", kept=""), TransientFailure)


def test_blocks_on_their_way_to_disk_at_the_end_are_credited_to_whom_they_were_asked_of():
    tally = Tally([A], may_find_peers=True)
    web, peer = ("192.0.2.1", 443), ("192.0.2.2", 50000)
    tally.connected(web, web_seed=True)
    tally.connected(peer, web_seed=False)
    tally.asked(web, (0, 0), 100)
    tally.received(web, (0, 0), 100)
    tally.asked(web, (0, 1), 10)
    tally.asked(peer, (0, 1), 10)  # asked again of another: that one sends it
    tally.asked(web, (0, 2), 1)
    tally.complete()
    assert (tally.from_web_seeds, tally.from_peers) == (101, 10)


def test_queries_are_not_repeated_in_messages():
    tally = Tally([f"{A}?token=secret"], may_find_peers=False)
    tally.web_seed_failed(f"{A}?token=secret", "404 Not Found")
    assert "secret" not in str(tally.failure("it ended", file="x", kept="")) + str(tally.failed_sources)

"""Settings: from the environment only, wrong ones named, none of their values shown."""

from __future__ import annotations

import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.settings import Settings, secret

SECRET = "TOPSECRETTOKEN"


@pytest.fixture(autouse=True)
def a_token(monkeypatch):
    monkeypatch.setenv("D4C_ZENODO_TOKEN", SECRET)


def test_two_portals_are_refused_without_showing_a_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("D4C_PORTAL_DIR", str(tmp_path))
    monkeypatch.setenv("D4C_PORTAL_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PermanentFailure, match="D4C_PORTAL_DIR or D4C_PORTAL_ENDPOINT") as failure:
        Settings.read()
    assert SECRET not in str(failure.value)
    assert failure.value.__cause__ is None


def test_a_portal_needs_its_public_address(monkeypatch, tmp_path):
    monkeypatch.setenv("D4C_PORTAL_DIR", str(tmp_path))
    with pytest.raises(PermanentFailure, match="D4C_PORTAL_URL"):
        Settings.read()


@pytest.mark.parametrize(("name", "value"), [("D4C_ATTEMPTS", "many"), ("D4C_ORIGINS", "{"), ("D4C_ZENODO_PUBLISH", "perhaps")])
def test_a_wrong_value_is_named_by_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(PermanentFailure, match=name) as failure:
        Settings.read()
    assert SECRET not in str(failure.value)


def test_the_gate_to_a_doi_is_closed_unless_opened():
    assert Settings.read().zenodo_publish is False


def test_a_secret_is_not_shown_and_loses_the_newline_it_was_pasted_with(monkeypatch):
    monkeypatch.setenv("D4C_ZENODO_TOKEN", f"{SECRET}\n")
    settings = Settings.read()
    assert SECRET not in repr(settings)
    assert secret(settings.zenodo_token) == SECRET

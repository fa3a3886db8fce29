"""Where this installation keeps and publishes things: every setting and secret, read from the environment only.

The names are ``D4C_…`` in capitals; `d4c sandbox up` prints a set that points everything at this machine. One set of code runs
on a laptop and on a cluster: only these values differ.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of one installation."""

    model_config = SettingsConfigDict(env_prefix="D4C_", frozen=True, extra="ignore")

    datasets: Path | None = Field(default=None, description="Folder of declarations; the packaged ones by default.")
    origins: dict[str, str] = Field(default={}, description="Origin to its stand-in, as JSON: how a sandbox works.")
    requests_per_s: float = Field(default=10.0, gt=0, description="Most requests a second to one remote host.")
    attempts: int = Field(default=4, gt=0, description="Tries of one request to a remote service before a stage gives up.")
    work_dir: Path = Field(default=Path(tempfile.gettempdir()), description="Local disk for one run's working files.")

    portal_dir: Path | None = Field(default=None, description="The portal as a local directory.")
    portal_endpoint: str | None = Field(default=None, description="The portal as a bucket: the S3 endpoint.")
    portal_bucket: str = "d4c"
    portal_prefix: str = ""
    portal_region: str = "auto"
    portal_access_key: SecretStr | None = None
    portal_secret_key: SecretStr | None = None
    portal_url: str = Field(default="", description="Public base URL of the portal.")

    source_coop_endpoint: str = ""
    source_coop_bucket: str = "dataforcanada"
    source_coop_prefix: str = ""
    source_coop_region: str = "us-west-2"
    source_coop_url: str = "https://data.source.coop/dataforcanada"
    source_coop_access_key: SecretStr | None = None
    source_coop_secret_key: SecretStr | None = None
    source_coop_session_token: SecretStr | None = None

    zenodo_url: str = "https://zenodo.org"
    zenodo_token: SecretStr | None = None
    zenodo_publish: bool = Field(default=False, description="The gate: a DOI is minted only when this is true.")

    trackers: tuple[str, ...] = ()
    retry_wait_s: float = Field(default=900.0, ge=0, description="First wait before a failed stretch is tried again.")

    @model_validator(mode="after")
    def _one_portal(self) -> Settings:
        if self.portal_dir is not None and self.portal_endpoint is not None:
            raise ValueError("set D4C_PORTAL_DIR or D4C_PORTAL_ENDPOINT, not both")
        return self


def secret(value: SecretStr | None) -> str:
    """The secret's text, or the empty string when it is not set."""
    return value.get_secret_value() if value is not None else ""

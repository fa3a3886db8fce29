"""Where this installation keeps and publishes things: every setting and secret, read from the environment only.

The names are ``D4C_…`` in capitals; `d4c sandbox up` prints a set that points everything at this machine. One set of code runs
on a laptop and on a cluster: only these values differ.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from d4c_platform.model.errors import PermanentFailure


class Settings(BaseSettings):
    """The settings of one installation."""

    # A wrong setting must not print the others: pydantic would show the whole input, tokens included.
    model_config = SettingsConfigDict(env_prefix="D4C_", frozen=True, extra="ignore", hide_input_in_errors=True)

    datasets: Path | None = Field(default=None, description="Folder of declarations; the packaged ones by default.")
    families: tuple[str, ...] = Field(default=(), description="Families to follow, by name, as JSON; none by default.")
    origins: dict[str, str] = Field(default={}, description="Origin to its stand-in, as JSON: how a sandbox works.")
    requests_per_s: float = Field(default=10.0, gt=0, description="Most requests a second to one remote host.")
    attempts: int = Field(default=4, gt=0, description="Tries of one request to a remote service before a stage gives up.")
    work_dir: Path = Field(default=Path(tempfile.gettempdir()), description="Local disk for one run's working files.")

    convert_ecw: str | None = Field(
        default=None, description="Command that makes a GeoTIFF of an ECW: it names {input} and {output}."
    )
    convert_mrsid: str | None = Field(default=None, description="The same for MrSID.")

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
    def _one_portal_with_an_address(self) -> Self:
        if self.portal_dir is not None and self.portal_endpoint is not None:
            raise ValueError("set D4C_PORTAL_DIR or D4C_PORTAL_ENDPOINT, not both")
        if (self.portal_dir or self.portal_endpoint) and not self.portal_url.startswith(("http://", "https://")):
            raise ValueError("set D4C_PORTAL_URL to the portal's public http(s) address: it is written into every record")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _no_line_break(cls, value: object) -> object:
        # A secret pasted with its newline would end up in an HTTP library's error text.
        return value.strip() if isinstance(value, str) else value

    @classmethod
    def read(cls) -> Self:
        """The settings of this process's environment.

        Raises:
            PermanentFailure: a variable has a value that cannot be; names it, never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            names = {("D4C_" + "_".join(map(str, e["loc"]))).upper() if e["loc"] else e["msg"] for e in error.errors()}
            raise PermanentFailure(
                f"cannot be read: {'; '.join(sorted(names))}", where="settings", remedy="Correct the environment"
            ) from None
        except SettingsError as error:
            # Its text names the field, for instance: error parsing value for field "origins" from source …
            field = str(error).partition('"')[2].partition('"')[0]
            raise PermanentFailure(
                f"cannot be read: D4C_{field.upper()} is not JSON", where="settings", remedy="Correct the environment"
            ) from None


def secret(value: SecretStr | None) -> str:
    """The secret's text, or the empty string when it is not set."""
    return value.get_secret_value() if value is not None else ""

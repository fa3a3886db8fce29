"""A declared family: one declaration that stands for many datasets, with what they share.

Which datasets they are, the publisher's own list says (`model.listing`); `d4c_platform.datasets.expansion` makes one `Dataset`
of each entry. An installation follows a family only when its settings name it: thousands of tables are a decision.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from d4c_platform.model.checks import CheckChoice
from d4c_platform.model.dataset import Area, DataPackage, Licence, MirrorName, ReleaseVintage, StatCanCsvTransform, Text
from d4c_platform.model.declared import Declared

PLACEHOLDERS = ("number", "title", "frequency", "since", "state")
"""What the texts of a family may name in braces: the table's number as people cite it, its title, how often it comes, its
first reference period, and whether its publisher has archived it."""


class FamilyArea(Area):
    """An area that datasets of the family cover, with the region that then stands first in their ids."""

    region: str = Field(description="ISO 3166 region as it stands in the id, for instance ca or ca-on.")


class Family(Declared):
    """All Statistics Canada tables, as far as they are selected. Each is a dataset of its own."""

    family: Literal["statcan-tables"] = Field(
        description="Which list makes the datasets; also the family's name in the settings."
    )
    version: str = Field(description="The declared SemVer of every dataset that has no declaration of its own.")
    package: DataPackage
    description: Text = Field(description="May hold {number}, {title}, {frequency}, {since} and {state}.")
    publisher: Text
    languages: tuple[Literal["en", "fr"], ...] = ("en", "fr")
    recheck_days: int = Field(
        default=7,
        ge=0,
        description="Days after which a release's files are looked at again for a revision that was not announced; 0: never.",
    )
    archived: bool = Field(default=True, description="Whether tables that their publisher has archived belong to it.")
    subjects: tuple[str, ...] = Field(
        default=(), description="Starts of subject codes; only tables with one of them belong to it. Empty: all tables."
    )
    transform: StatCanCsvTransform
    vintage: ReleaseVintage
    licence: Licence = Field(description="Its attribution may hold the same words in braces as the description.")
    areas: tuple[FamilyArea, ...] = Field(
        min_length=1,
        description="The first is for every table whose geography is none of the others. A table keeps the one it got first.",
    )
    mirrors: tuple[MirrorName, ...] = (MirrorName.SOURCE_COOP, MirrorName.ZENODO)
    checks: tuple[CheckChoice, ...] = Field(default=(), description="Checks that are tuned or waived for all its datasets.")

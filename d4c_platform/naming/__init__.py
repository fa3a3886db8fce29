"""The D4C file naming convention: parse, validate, format, order.

    [iso-region]_[source]-[DGUID]_[data-package]_[name…]_[iso-date]_[variant]_v[SemVer].[ext]

`parse` reads what D4C has published and says exactly what is wrong with anything else; `str` of a `Name` is the one canonical
spelling. Imports nothing of ours, so that every room may import it.

Parts: `grammar` (text to segments), `name` (the `Name` type and version ids), `dates` (ISO 8601), `semver`, `vocabulary`
(regions, packages, extensions…), `bad` (the error that points at the segment).
"""

from d4c_platform.naming.bad import BadName, Segment
from d4c_platform.naming.dates import Vintage, read_date
from d4c_platform.naming.name import Name, dataset_id_of, order_key, parse, version_id
from d4c_platform.naming.semver import SemVer
from d4c_platform.naming.vocabulary import DGUID, PACKAGES

__all__ = [
    "DGUID",
    "PACKAGES",
    "BadName",
    "Name",
    "Segment",
    "SemVer",
    "Vintage",
    "dataset_id_of",
    "order_key",
    "parse",
    "read_date",
    "version_id",
]

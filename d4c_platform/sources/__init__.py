"""Sources: is there a new release, and what exactly did the publisher serve?

`detection.detect` turns what a source notices into the ledger's candidates with their version ids; `archive.archive` keeps a
release whole under `raw/` with its provenance; `archive.fetch_raw` gives it back to a transform.

Adding a kind of source is one module with a class of `source.Source`, its declaration in `model.sources`, and one line in
`registry.KINDS`. Rooms beside this one (transforms, mirrors) are not known here.
"""

from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import KINDS, Sweep, open_source
from d4c_platform.sources.source import Noticed, Source, SourceSettings, SourceUrl, Superseded

__all__ = [
    "KINDS",
    "Noticed",
    "Source",
    "SourceSettings",
    "SourceUrl",
    "Superseded",
    "Sweep",
    "detect",
    "open_source",
]

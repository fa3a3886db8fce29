"""A publisher in a process of its own: adds versions one by one, publishes after each, and says so only when it is done.

    python -m d4c_platform_tests.catalog.publisher ROOT MINOR COUNT

Started again after a kill it repeats what it did: every step is written to be repeated.
"""

import sys
from pathlib import Path

from d4c_platform.catalog.publish import publish
from d4c_platform.catalog.reading import Catalog
from d4c_platform_tests.catalog.published import TABLE, TABULAR, Archive, table_version


def main(root: str, minor: str, count: str) -> None:
    archive = Archive(Path(root))
    for patch in range(int(count)):
        version = archive.version(TABLE, table_version("2025-06-11", f"1.{minor}.{patch}"), **TABULAR)
        publish(archive.records, archive.store)
        if version not in Catalog.open(root).versions(TABLE.id):
            sys.exit(f"{version} was published and is not in the catalog")
        sys.stdout.write(f"{version}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

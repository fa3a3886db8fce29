"""A store that can be opened again in another process, and a program that writes to it there.

    python -m d4c_platform_tests.storage.stores '<Stores as JSON>' put KEY FILE [--if-absent | --if-match ETAG]
    python -m d4c_platform_tests.storage.stores '<Stores as JSON>' increment KEY TIMES
    python -m d4c_platform_tests.storage.stores '<Stores as JSON>' publish NUMBER…

Prints `ready` before it starts, `done` or the name of the failure at the end.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.s3 import S3Store
from d4c_platform.storage.store import Conflict, ObjectStore

BUCKET = "d4c-portal"
KEYS = ("access-key-of-tests", "secret-key-of-tests")


@dataclass(frozen=True)
class Stores:
    root: str = ""
    endpoint_url: str = ""
    prefix: str = ""

    def open(self) -> ObjectStore:
        if self.root:
            return LocalStore(Path(self.root), "http://127.0.0.1/store")
        return S3Store(self.endpoint_url, BUCKET, self.prefix, access_key=KEYS[0], secret_key=KEYS[1])

    def process(self, *arguments: str, preamble: str = "") -> subprocess.Popen[str]:
        """The program below, in another process."""
        code = f"{preamble}\nfrom d4c_platform_tests.storage.stores import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(dataclasses.asdict(self)), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )


def increment(store: ObjectStore, key: str, times: int) -> None:
    """Count up under compare-and-swap: a lost update would show in the sum."""
    done = 0
    while done < times:
        info = store.head(key)
        assert info is not None
        value = int(store.read(key))
        try:
            store.put(key, b"%08d" % (value + 1), if_match=info.etag)
            done += 1
        except Conflict:
            continue


def publish(store: ObjectStore, numbers: list[int]) -> None:
    from d4c_platform_tests.storage.versions import DATASET, staged

    portal = Portal(store)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            portal.publish(staged(portal, Path(folder), number))
            portal.switch_latest(DATASET)


def main() -> None:
    store = Stores(**json.loads(sys.argv[1])).open()
    command, *rest = sys.argv[2:]
    print("ready", flush=True)
    try:
        if command == "put":
            key, file, *options = rest
            if_match = options[1] if options[:1] == ["--if-match"] else None
            store.put(key, Path(file), if_absent="--if-absent" in options, if_match=if_match)
        elif command == "increment":
            increment(store, rest[0], int(rest[1]))
        elif command == "publish":
            publish(store, [int(n) for n in rest])
    except Exception as error:  # noqa: BLE001 - its name is what the test reads
        print(type(error).__name__, error)
    else:
        print("done")

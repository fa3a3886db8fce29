"""The publisher of the ingest benchmark: files that are made while they are served, on good days and on bad ones.

    python -m benchmarks.origin FILES BYTES FAULTY   prints its URL; `/_served` tells what was asked for and how much was sent

A faulty one answers 503 with `Retry-After`, or breaks the line in the middle of a body, to one request in fifty; which ones is
random with a fixed seed. It counts itself, because the sandbox's request log keeps the newest ten thousand only.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
from collections import Counter
from typing import Any

from d4c_platform.sandbox.faults import Fault, FaultSwitch, Kind
from d4c_platform.sandbox.generated import Generated, generated_app, list_of
from d4c_platform.sandbox.serving import serve

LIST = "list.txt"
FAULTY_SHARE = 0.02
RETRY_AFTER_S = "1"


def corpus(count: int, total_bytes: int) -> dict[str, Generated]:
    """Files of mixed size: most are small, and most bytes are in few, as in real folders of imagery and side files."""
    dice = random.Random(20250611)
    weights = [dice.lognormvariate(0, 1.6) for _ in range(count)]
    sizes = [max(1, int(total_bytes * weight / sum(weights))) for weight in weights]
    return {f"{i % 37:02}/tile_{i:05}.tif": Generated(size) for i, size in enumerate(sizes)}


class Origin(FaultSwitch):
    """The app, with its counts, and its bad days when it has them."""

    def __init__(self, app: Any, files: dict[str, Generated], faulty: bool) -> None:
        super().__init__(app)
        self._files, self._dice = files, random.Random(11) if faulty else None
        self._asked: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path == "/_served":
            body = json.dumps({"asked": self._asked, "sent": self._sent}).encode()
            head = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        counts = scope["type"] == "http" and scope["method"] == "GET" and path.startswith("/files/")
        if not counts:
            await super().__call__(scope, receive, send)
            return
        name = path.removeprefix("/files/")
        self._asked[name] += 1

        async def counting(message: Any) -> None:
            self._sent[name] += len(message.get("body", b""))
            await send(message)

        vars(counting)["__self__"] = getattr(send, "__self__", None)  # by which a fault finds the connection
        await super().__call__(scope, receive, counting)

    def _next(self, method: str, path: str) -> Fault | None:
        if method != "GET" or not path.startswith("/files/") or self._dice is None or self._dice.random() >= FAULTY_SHARE:
            return None
        if self._dice.random() < 0.5:
            return Fault(Kind.STATUS, status=503, headers={"Retry-After": RETRY_AFTER_S})
        size = self._files[path.removeprefix("/files/")].size
        return Fault(Kind.TRUNCATE, after_bytes=int(size * self._dice.random()))


def main() -> None:
    count, total_bytes, faulty = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "faulty"
    logging.disable(logging.CRITICAL)  # the broken lines are meant
    files = corpus(count, total_bytes)
    lists: dict[str, bytes] = {}
    with serve(Origin(generated_app(lambda: files, lambda: lists), files, faulty)) as served:
        lists[LIST] = list_of(served.url, files)
        print(served.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

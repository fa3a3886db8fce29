"""Several jobs at once, with the outcome of doing them one after the other.

The results come in the order of the jobs, and no more jobs are begun than a few ahead of the result that is being worked on.
When a job fails, those before it go on to their end and those after it are stopped, so that the error that comes out is the
one that had stopped the work with a single worker.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from d4c_platform.sources.download import Stopped

T = TypeVar("T")
Job = Callable[[Callable[[], bool]], T]
"""Gets a question to ask now and then: is it to end with `Stopped`, because there is no sense in it any more?"""


@contextmanager
def in_order(jobs: Sequence[Job[T]], most: int) -> Iterator[Iterator[T]]:
    """The results of the jobs, which are at work while the results are taken; none is at work when the block has ended.

    Args:
        most: how many jobs may have begun whose result is not yet worked through, which is when the next one is taken.
    """
    first = _FirstFailure(len(jobs))

    def run(place: int, job: Job[T]) -> T:
        if first.is_before(place):
            raise Stopped("an earlier one failed")
        try:
            return job(lambda: first.is_before(place))
        except BaseException:
            first.note(place)
            raise

    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="fetch") as pool:
        try:
            yield _results(deque(enumerate(jobs)), most, lambda place, job: pool.submit(run, place, job))
        finally:  # whatever ended the block, an interrupt too: what is still at work has no sense any more
            first.note(-1)
            pool.shutdown(wait=True, cancel_futures=True)


def _results(left: deque[tuple[int, Job[T]]], most: int, begin: Callable[[int, Job[T]], Future[T]]) -> Iterator[T]:
    begun: deque[Future[T]] = deque()
    while left or begun:
        while left and len(begun) < most:
            begun.append(begin(*left.popleft()))
        yield begun.popleft().result()


class _FirstFailure:
    """The place of the first job in the order that has failed so far."""

    def __init__(self, none: int) -> None:
        self._place, self._lock = none, threading.Lock()

    def note(self, place: int) -> None:
        with self._lock:
            self._place = min(self._place, place)

    def is_before(self, place: int) -> bool:
        return self._place < place

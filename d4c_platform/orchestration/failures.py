"""Our typed failures as Dagster understands them, and who tries again.

Dagster has three retry systems that do not know of each other (steps, runs, automation); together they once made 368,000
failed runs elsewhere. Here exactly one tries again: the `outstanding` sensor, with growing waits. A step fails once; when
trying again cannot help, its run is tagged so that the sensor leaves it to a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.orchestration.attempts import NEEDS_A_PERSON, WORKER_TAG, worker


@contextmanager
def failures_for_people(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Turn a failure of a stage into one that names the version and says whether trying again can help.

    Also signs the run with this process, so that a killed one is noticed.
    """
    context.instance.add_run_tags(context.run.run_id, {WORKER_TAG: worker()})
    try:
        yield
    except D4CError as error:
        permanent = isinstance(error, PermanentFailure)
        if permanent:
            context.instance.add_run_tags(context.run.run_id, {NEEDS_A_PERSON: "yes"})
        raise dg.Failure(
            description=str(error.about(version=context.partition_key)),
            metadata={"who tries again": "a person, after a change" if permanent else "the outstanding sensor"},
            allow_retries=False,
        ) from error

"""What is done once a day rather than in a sensor tick: reading the lists behind the families, and looking at files again.

Both take minutes with thousands of tables, and a tick has one. They run after Statistics Canada's release of the day, in its
own time zone. An installation that follows no family has no list to read, and its schedule says so instead of starting a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg

from d4c_platform.model.errors import D4CError
from d4c_platform.model.sources import StatCanTableSource
from d4c_platform.orchestration.attempts import WORKER_TAG, worker
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.recheck import recheck
from d4c_platform.stages.refresh import refresh_families as refresh

EASTERN = "America/Toronto"
REFRESH_AT = "45 8,12 * * *"  # the release of the day is out at 08:30; at noon once more, in case the morning's reading failed
RECHECK_AT = "15 10 * * *"  # when the new releases of the day are on their way: a release is looked at once it is archived


@dg.op(description="Read the publishers' lists behind the families, and store which datasets they make.", pool="source")
def read_lists(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    with _in_sentences(context):
        found = refresh(platform, datetime.now(UTC))
    for family in found:
        for product_id, reason in family.left_out.items():
            context.log.warning(f"{family.family}: {product_id} is left out: {reason}")
        context.log.info(
            f"{family.family}: {family.datasets:,} datasets of {family.listed:,} listed tables; {family.new:,} new, "
            f"{family.released:,} with another release than at the last reading, {len(family.left_out):,} left out"
        )


@dg.op(description="Look at the files of archived tables again, for revisions that were not announced.", pool="source")
def look_again(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    with _in_sentences(context):
        found = recheck(platform, datetime.now(UTC))
    for failure in found.failures:
        context.log.warning(failure)
    for revision in found.revisions:
        context.log.info(f"{revision.version_id}: its files changed under an old release time ({revision.hint['files']})")
    context.log.info(f"looked at {found.looked_at:,} of {found.due:,} tables; {len(found.revisions):,} revisions")


@contextmanager
def _in_sentences(context: dg.OpExecutionContext) -> Iterator[None]:
    """A failure as a sentence; the schedule tries again. The run is signed, so that a killed one is noticed."""
    context.instance.add_run_tags(context.run_id, {WORKER_TAG: worker()})
    try:
        yield
    except D4CError as error:
        raise dg.Failure(description=str(error), metadata={"who tries again": "the schedule"}, allow_retries=False) from error


@dg.job(description="Read the publishers' lists behind the families, and store which datasets they make.")
def refresh_families() -> None:
    read_lists()


@dg.job(description="Look at the files of archived tables again, for revisions that were not announced.")
def recheck_tables() -> None:
    look_again()


@dg.schedule(
    job=refresh_families,
    cron_schedule=REFRESH_AT,
    execution_timezone=EASTERN,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="After the release of the day, when this installation follows a family (D4C_FAMILIES).",
)
def daily_lists(platform: dg.ResourceParam[Platform]) -> dg.RunRequest | dg.SkipReason:
    return dg.RunRequest() if platform.families else dg.SkipReason("this installation follows no family")


@dg.schedule(
    job=recheck_tables,
    cron_schedule=RECHECK_AT,
    execution_timezone=EASTERN,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day a few: each table as often as its declaration says (`recheck_days`).",
)
def daily_recheck(platform: dg.ResourceParam[Platform]) -> dg.RunRequest | dg.SkipReason:
    watched = any(
        isinstance(d.source, StatCanTableSource) and d.source.recheck_days for d in platform.datasets.explicit.values()
    )
    if watched or any(expansion.family.recheck_days for expansion in platform.datasets.expansions):
        return dg.RunRequest()
    return dg.SkipReason("no declaration asks for it")


UPKEEP = (refresh_families, recheck_tables)
SCHEDULES = (daily_lists, daily_recheck)

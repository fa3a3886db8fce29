"""The one Dagster `Definitions`: assets, jobs, sensors, schedules and the platform they work on."""

import dagster as dg

from d4c_platform.orchestration.assets import ASSETS
from d4c_platform.orchestration.jobs import JOBS
from d4c_platform.orchestration.resources import platform_resource
from d4c_platform.orchestration.sensors import outstanding_sensor, releases_sensor
from d4c_platform.orchestration.upkeep import SCHEDULES, UPKEEP

defs = dg.Definitions(
    assets=ASSETS,
    jobs=[*JOBS.values(), *UPKEEP],
    sensors=[releases_sensor, outstanding_sensor],
    schedules=list(SCHEDULES),
    resources={"platform": platform_resource},
    # One process a run: the steps are short, and every step process would pay for the imports again. Large installations
    # put each run in its own container through the run launcher in dagster.yaml.
    executor=dg.in_process_executor,
)

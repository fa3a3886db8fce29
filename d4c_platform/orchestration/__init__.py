"""Everything Dagster: assets, checks, partitions, jobs, sensors, resources.

The asset functions read like the strategy and call `d4c_platform.stages`, which works without Dagster. The facts live in the
portal's records, not in Dagster's event log: the log may be pruned, and an empty instance can take over.
"""

"""The one partition: a dataset version, keyed by its id.

One dynamic partition for all datasets, because real (dataset, version) pairs are few while their grid is large, and because
shared stage assets keep the number of definitions, which is what slows a code location down, at about ten.
"""

import dagster as dg

dataset_versions = dg.DynamicPartitionsDefinition(name="dataset_version")

"""The main job end to end, on one machine: a release becomes a version, the portal dies, the data stays available."""

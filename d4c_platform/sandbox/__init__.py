"""A whole Data for Canada on one laptop: local servers that speak the sources' and the mirrors' protocols.

Everything listens on 127.0.0.1 only. The platform's clients keep the real URLs and reach these servers by settings
(`Sandbox.env`). `serving` runs one app in a test, `up` runs all of them as processes; `faults` makes any of them misbehave.
"""

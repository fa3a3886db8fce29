"""Data for Canada's publishing platform: from a source release to a citable, mirrored, peer-to-peer version."""

__version__ = "0.1.0"

USER_AGENT = f"d4c-platform/{__version__} (+https://github.com/dataforcanada/d4c_platform)"
"""Sent to every remote service: Zenodo and others throttle the default agents of HTTP libraries."""

"""Zips from outside: read as if their maker meant harm, and told in a sentence when they cannot be.

Readers of zips disagree about damaged and about crafted ones, and so does the standard library from version to version. What
is archived must have one meaning on every machine, so the structure is read here, byte by byte: the end of the zip, its
directory and every member's own header have to say the same, and nothing may lie between or behind. Memory is bounded, time
is bounded by what the directory declares, and nothing is ever unpacked under a name that the zip chooses.

A zip is read whole when it arrives (sources.zipfiles) and again, member by member, by the transform that uses it
(transforms.archive): the second reader may trust nothing, because the archive may have been damaged since.

Not here: what a release's content hash is (sources), which members a transform wants (transforms).
"""

from d4c_platform.zips.directory import Member
from d4c_platform.zips.reading import Zip, opened
from d4c_platform.zips.unsound import UnsoundZip

__all__ = ["Member", "UnsoundZip", "Zip", "opened"]

"""One module a mirror, behind one protocol: put a version's artifacts there, once, and prove that they are right.

A mirror writes what it knows (`copies.<mirror>.json`, and Zenodo the DOI) and nothing else. When a mirror is used, and for
which dataset, is orchestration's; what the portal serves is storage's.
"""

"""Torrents: compose them, probe their web seeds, publish them, fetch from them and seed.

`bencode` and `metainfo` are pure; `web_seeds` asks servers whether they are fit to be listed; `publish` writes the `.torrent`
and its record; `swarm` is the only module that loads libtorrent, so that everything else installs without it.
"""

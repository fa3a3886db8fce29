"""Where a redirect may lead: never from HTTPS to HTTP, never from a public host into a private network.

A publisher's server that was taken over, or is only careless, could otherwise have this machine read what lies behind its
firewall and publish it. Not judged: what somebody here chose, which is a declared host that is private itself, or a host
whose place a stand-in on this machine has taken.

Hosts are judged by what they say, not by what they resolve to: behind a proxy, this machine cannot tell.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.web import Web, without_query

PRIVATE_NAMES = (".localhost", ".local", ".internal", ".home.arpa")


def refuse_astray(web: Web, url: str, response: httpx.Response, *, where: str, kept: str) -> None:
    """Look at the way an answer came, before its body is read.

    Args:
        url: the declared URL.

    Raises:
        PermanentFailure: a hop leads where it must not; the sentence names it.
    """
    if not response.history or web.route(url) != url or is_private(urlsplit(url).hostname or ""):
        return
    asked = response.history[0].url
    for hop in [*(answer.url for answer in response.history[1:]), response.url]:
        shown = without_query(str(hop))
        if asked.scheme == "https" and hop.scheme != "https":
            reason = f"redirects from HTTPS to {shown}"
        elif is_private(hop.host):
            reason = f"redirects into a private network ({shown})"
        else:
            continue
        raise PermanentFailure(
            reason,
            where=where,
            file=without_query(url),
            kept=kept,
            remedy="Ask the publisher where the file lies now, and declare that address",
        )


def is_private(host: str) -> bool:
    """Whether a host is on this machine or a private network, as far as its name tells."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:  # the short spellings that every client understands: 127.1, 2130706433, 0x7f000001
            address = ipaddress.ip_address(socket.inet_aton(name))
        except (OSError, ValueError, UnicodeError):
            return name == "localhost" or name.endswith(PRIVATE_NAMES)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global

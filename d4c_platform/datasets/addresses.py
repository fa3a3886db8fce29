"""Which addresses a declaration may hold: public ones, with no secret in them.

A declaration is a public file and its source is fetched from inside our network. So an address must not carry a password or a
token, and must not lead to this machine, a private network or a cloud's metadata service. It is read by the client that will
ask it, so that both see the same host.

Not here: where a public name leads once it is resolved or redirected; nothing is asked when a declaration is read.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from urllib.parse import parse_qsl

import httpx

from d4c_platform.datasets.problem import FieldPath, Problem

SECRET_KEYS = frozenset({"key", "sig", "auth", "authorization", "pw", "pwd", "passwd", "apikey", "sas"})
SECRET_WORDS = frozenset({"token", "secret", "signature", "password", "credential", "credentials", "apikey"})
SECRET_PAIRS = ("api_key", "access_key", "private_key", "subscription_key")
SIGNED_PREFIXES = ("x-amz-", "x-goog-")
PRIVATE_ZONES = (".localhost", ".local", ".internal", ".lan", ".intranet", ".home.arpa", ".corp", ".home")


def address_problems(url: str, path: FieldPath) -> Iterator[Problem]:
    """What is wrong with an address; never with the secret it holds."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        yield Problem(path, "it is not an address that can be read")
        return
    if address.scheme not in {"http", "https"} or not address.host:
        yield Problem(path, "it is not an http(s) address")
        return
    if address.userinfo or "@" in address.netloc.decode():
        yield Problem(path, "it holds a user name or password; a declaration is public")
    for key, _ in parse_qsl(address.query.decode(), keep_blank_values=True):
        if _is_secret(key):
            yield Problem(path, f"its query holds {key!r}, which looks like a secret; a declaration is public")
    if _is_private(address.raw_host.decode()):
        yield Problem(path, f"{address.host} is on this machine or in a private network, where no publisher is")


def _is_secret(key: str) -> bool:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    return (
        name in SECRET_KEYS
        or name.startswith(SIGNED_PREFIXES)
        or not SECRET_WORDS.isdisjoint(re.split(r"[^a-z0-9]+", name))
        or name.replace("-", "_").endswith(SECRET_PAIRS)
        or name.endswith(("token", "password"))
    )


def _is_private(host: str) -> bool:
    name = host.strip("[]").rstrip(".").lower()
    address = _ip(name)
    if address is None:
        return "." not in name or name.endswith(PRIVATE_ZONES)
    embedded = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return any(not a.is_global or a.is_multicast for a in (address, embedded) if a is not None)


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:  # 127.1, 0x7f000001 and 2130706433 are addresses to the resolver too
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        return None

"""Network addresses: hosts, ports, loopback, IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
import re
import socket

import zmq

from forehand.errors import AddressUnavailable

_TCP = re.compile(r"tcp://(?:.*;)?\[?([^\]]*)\]?:([^:]+)")
_PLACE = re.compile(r"(\[[^\[\]]+\]|[^\[\]:/]+)(?::([0-9]+))?")


def host_and_port(address: str) -> tuple[str, str] | None:
    """``tcp://HOST:PORT`` taken apart, HOST without brackets, or None for other transports, which stay on this computer.

    Raises :class:`AddressUnavailable`.
    """
    if not address.startswith("tcp://"):
        return None
    found = _TCP.fullmatch(address)
    if found is None:
        raise AddressUnavailable(f"{address} is no address. Write it as tcp://HOST:PORT.")
    return found[1], found[2]


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, without brackets) is this computer alone."""
    number = _number(host)
    return host.lower() == "localhost" if number is None else number.is_loopback


def bare_host(host: str) -> str:
    """``host`` without the brackets around an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def with_port(host: str, port: int | str) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def normalized(place: str) -> str:
    """The one way to write ``place``: a host or ``host:port``, which may come with ``tcp://`` in front of it.

    Raises :class:`AddressUnavailable` where it is neither.
    """
    stated = place.removeprefix("tcp://")
    if _number(stated) is not None:
        return str(_number(stated))
    found = _PLACE.fullmatch(stated)
    number = _number(bare_host(found[1])) if found else None
    if found is None or (number is None and found[1].startswith("[")):
        raise AddressUnavailable(f"{place} is no host. Write HOST, HOST:PORT, or an IPv6 address as [::1]:PORT.")
    host = found[1].lower() if number is None else str(number)
    return with_port(host, found[2]) if found[2] else host


def use_ipv6(zmq_socket: zmq.Socket[bytes], address: str) -> None:
    """Prepare a socket for ``address``, before it is bound or connected: IPv6 where nothing else leads there."""
    where = host_and_port(address)
    if where is not None and family(where[0]) == socket.AF_INET6:
        zmq_socket.setsockopt(zmq.IPV6, 1)


def family(host: str) -> socket.AddressFamily:
    """IPv6 for its addresses and for names that have no other, else IPv4."""
    if _number(host) is not None:
        return socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = {kind for kind, *_ in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):  # no name of a host: an interface's, *, or a mistake
        return socket.AF_INET
    return socket.AF_INET6 if found == {socket.AF_INET6} else socket.AF_INET


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (number.ipv4_mapped or number) if number.version == 6 else number

"""Which machines a hub calls on somebody's word: any but those where a cloud tells its machines their secrets.

The address that was checked is the one that is connected to, so no name can change what it means in between.
"""
import functools
import ipaddress
import socket
import time
from contextlib import suppress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NEVER = [ipaddress.ip_network(each) for each in (
    "169.254.0.0/16", "fe80::/10",  # link-local: most clouds' metadata
    "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",  # those of AWS, Alibaba, Azure, Oracle
    "fd20:ce::254/128", "224.0.0.0/4", "ff00::/8", "255.255.255.255/32")]
NAMES = ("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """An address that is not called; says why."""


def check_host(host: str) -> None:
    """Raises Refused for a host that is never called, as far as that shows without asking for its address."""
    if host.rstrip(".").lower() in NAMES:
        raise Refused(f"{host} is where a cloud tells its machines their secrets.")
    with suppress(ValueError):
        check_address(ipaddress.ip_address(host))


def check_address(address: Address) -> None:
    """Raises Refused for an address that is never called."""
    if any(each in network for each in _meant(address) for network in NEVER if each.version == network.version):
        raise Refused(f"{address} is link-local, a group of machines, or where a cloud tells its machines their secrets.")


def resolved(host: str, port: int) -> list:
    """Returns what getaddrinfo finds for a host, every address checked. Raises Refused and OSError."""
    check_host(host)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        check_address(ipaddress.ip_address(address[0]))
    return found


def connected(found: list, until: float) -> socket.socket:
    """Returns a connection to the first of the found addresses that answers. Raises OSError."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left(until))
            connection.connect(address)
            return connection
        except OSError as problem:
            connection.close()
            failure = problem
    raise failure


def secured(connection: socket.socket, host: str, until: float) -> socket.socket:
    """Returns the connection inside of TLS, the certificate checked for this host. Raises OSError."""
    connection.settimeout(left(until))
    return _context().wrap_socket(connection, server_hostname=host)


@functools.cache
def _context():
    import ssl

    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def left(until: float) -> float:
    """Returns the seconds until a moment of the monotonic clock. Raises TimeoutError when it is over."""
    remaining = until - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no answer in time")
    return remaining


def _meant(address: Address) -> list[Address]:
    """Returns the address, and the IPv4 address that is written inside of it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    bare = ipaddress.IPv6Address(int(address))  # without the interface
    inner = [bare.ipv4_mapped, bare.sixtofour, *(bare.teredo or ())]
    if bare in _NAT64 or int(bare) >> 32 == 0:
        inner.append(ipaddress.IPv4Address(int(bare) & 0xFFFFFFFF))
    return [bare, *(each for each in inner if each is not None)]

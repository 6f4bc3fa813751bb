"""Connections to machines that somebody has named.

The address that was checked is the one that is connected to, so no name can change what it means in between.
"""
import functools
import ipaddress
import socket
import time

from ananta.domain.addresses import check_address, check_host


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

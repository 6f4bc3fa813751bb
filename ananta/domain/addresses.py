"""Which machines are called on somebody's word: any but those where a cloud tells its machines their secrets.

Looks at what is written and at what a name has turned out to mean; asks for nothing itself.
"""
import ipaddress
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


def _meant(address: Address) -> list[Address]:
    """Returns the address, and the IPv4 address that is written inside of it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    bare = ipaddress.IPv6Address(int(address))  # without the interface
    inner = [bare.ipv4_mapped, bare.sixtofour, *(bare.teredo or ())]
    if bare in _NAT64 or int(bare) >> 32 == 0:
        inner.append(ipaddress.IPv4Address(int(bare) & 0xFFFFFFFF))
    return [bare, *(each for each in inner if each is not None)]

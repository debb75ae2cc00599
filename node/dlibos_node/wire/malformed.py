"""Why a codec refused its input. Every parse function returns a value or one of these; none raises."""

from __future__ import annotations

from enum import Enum, unique


@unique
class Malformed(Enum):
    """The reason, for a counter of dropped packets."""

    TRUNCATED = "truncated"
    """Fewer bytes than the header, or the length it states."""
    VERSION = "version"
    """Another protocol version or hardware type than this codec reads."""
    HEADER_LENGTH = "header_length"
    """A header length below the protocol's minimum."""
    TOTAL_LENGTH = "total_length"
    """A total length smaller than the header it includes."""
    CHECKSUM = "checksum"
    """The checksum does not match the bytes."""
    FRAGMENT = "fragment"
    """A fragment whose offset and length no datagram can have (RFC 791 section 3.2)."""
    OPTIONS = "options"
    """An option list with a length that cannot be."""
    FLAGS = "flags"
    """A combination of control bits that no sender means."""
    ADDRESS = "address"
    """A source address that cannot be a host's."""

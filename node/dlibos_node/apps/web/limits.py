"""What one client may ask of the web server, and for how long it may hold what it got."""

from __future__ import annotations

from typing import Final

REQUEST_LINE: Final = 8 * 1024
"""Bytes of a request line without its CRLF; more is answered 414 (RFC 9112 section 3 asks for 8000 at least)."""
HEADER_SECTION: Final = 16 * 1024
"""Bytes of all header fields and the empty line; more is answered 431."""
HEADER_COUNT: Final = 100
"""Header fields of one request; more is answered 431."""
DISCARDED_BODY: Final = 1024 * 1024
"""Bytes of a body that no resource reads; more is answered 413."""
FRAMING: Final = 16 * 1024
"""Bytes a chunked body may spend on sizes, extensions and trailers without one byte of data between them."""

WINDOW: Final = 1024 * 1024
"""Unacknowledged bytes of one connection at which it is neither read nor answered any further."""
LOW_WATER: Final = WINDOW // 2
"""Unacknowledged bytes at which a connection that was held goes on."""
SEND: Final = 64 * 1024
"""Bytes given to the mesh in one call, the largest buffer that it hands out."""

SMALL_FILE: Final = 16 * 1024
"""Bytes of a file up to which it is kept in memory and sent together with its head."""
SMALL_FILES: Final = 256
"""Small files kept; 4 MiB at most."""
OPEN_FILES: Final = 256
"""Large files open at one time, each shared by all who download it; one more is answered 503."""
FRESH: Final = 0.001
"""Seconds for which an answer that was compared with the file behind it is not compared again."""
KNOWN_REQUESTS: Final = 512
"""Request heads whose meaning is remembered, each with its last answer: 9 MiB at most."""
KNOWN_HEAD: Final = 1024
"""Bytes of the longest head remembered."""

TICK: Final = 5.0
"""Seconds between two looks at the clock for all connections together."""
IDLE_TICKS: Final = 15
"""Ticks without a byte either way after which a connection is ended."""
RETIRING_TICKS: Final = 2
"""The same in a server that is to end, for a connection that nobody else can take."""
HEAD_TICKS: Final = 6
"""Ticks within which a request head must be complete, however steadily it drips; after that 408."""

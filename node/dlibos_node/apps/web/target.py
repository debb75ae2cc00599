"""From a request target to the path it names (RFC 9112 section 3.2, RFC 3986)."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import unquote_to_bytes

# RFC 9112 section 3.2.2: a server must accept the absolute form; the authority was for routing only.
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_PLAIN: Final = re.compile(rb"/[A-Za-z0-9._~/-]*")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decode(target: bytes) -> str | None:
    """Return the path of `target`, percent-decoded once, without its query; None when it is no path within a root.

    Dot segments count after decoding. "." and empty segments are dropped, ".." is refused even where it would stay
    inside: clients resolve it before they ask (RFC 3986 section 5.2.4). Ends with "/" where the target does.
    """
    if _PLAIN.fullmatch(target) and b"//" not in target and b"/." not in target:
        return target.decode("ascii")  # most targets: nothing to decode, no dot segment, no empty one
    path = _ABSOLUTE.sub(b"", target, count=1) if target[:1] != b"/" else target
    if path != target and path[:1] != b"/":
        path = b"/" + path
    path, _, _ = path.partition(b"?")
    if path[:1] != b"/" or b"#" in path or _BAD_ESCAPE.search(path):
        return None
    decoded = unquote_to_bytes(path)
    segments = [part for part in decoded.split(b"/") if part not in {b"", b"."}]
    if b"\0" in decoded or b".." in segments:
        return None
    directory = b"/" if segments and decoded.endswith((b"/", b"/.")) else b""
    return os.fsdecode(b"/" + b"/".join(segments) + directory)

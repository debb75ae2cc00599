"""Conditional and range requests on a file (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from dlibos_node.apps.web.files import StaticFile
from dlibos_node.apps.web.request import Request

# RFC 9110 section 14.1.2, one range. More digits than a file size can have are no range we could serve.
_RANGE: Final = re.compile(rb"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)
_ETAG: Final = re.compile(rb'(W/)?("[!#-~\x80-\xff]*")')


def precondition(request: Request, file: StaticFile) -> int | None:
    """Evaluate in the order of RFC 9110 section 13.2.2: 412, 304, or None to go on. The method is GET or HEAD."""
    headers = request.headers
    match = headers.get(b"if-match")
    if match is not None:
        if not _listed(match, file.etag, weak=False):
            return 412
    elif b"if-unmodified-since" in headers:
        limit = _seconds(headers[b"if-unmodified-since"])
        if limit is not None and file.modified > limit:
            return 412
    none_match = headers.get(b"if-none-match")
    if none_match is not None:
        return 304 if _listed(none_match, file.etag, weak=True) else None
    since = _seconds(headers.get(b"if-modified-since", b""))
    return 304 if since is not None and file.modified <= since else None


def requested_range(request: Request, file: StaticFile) -> tuple[int, int] | None:
    """Return the first byte and the number of bytes asked for; None for the whole file; a count of 0 means 416.

    A Range that is not understood, names several ranges, or is bound to another version by If-Range, is ignored, as
    RFC 9110 section 14.2 allows; so is one on another method than GET.
    """
    field = request.headers.get(b"range")
    if field is None or request.method != "GET" or not _if_range(request, file):
        return None
    parts = _RANGE.fullmatch(field)
    if parts is None or not (parts[1] or parts[2]):
        return None
    return _resolve(parts[1], parts[2], file.size)


def _resolve(first: bytes, last: bytes, size: int) -> tuple[int, int] | None:
    if not first:
        count = min(int(last), size)
        return size - count, count
    start = int(first)
    end = int(last) if last else size - 1
    if last and end < start:
        return None  # an invalid range, not an unsatisfiable one (section 14.1.1)
    return start, max(0, min(end, size - 1) - start + 1)


def _if_range(request: Request, file: StaticFile) -> bool:
    field = request.headers.get(b"if-range")
    if field is None or field == file.etag:
        return True
    # Section 13.1.5: an exact match of the date, never "not later than"; a weak tag never matches.
    return not field.startswith((b'"', b"W/")) and _seconds(field) == file.modified


def _listed(field: bytes, etag: bytes, *, weak: bool) -> bool:
    if field.strip() == b"*":
        return True
    return any(tag == etag and (weak or not prefix) for prefix, tag in _ETAG.findall(field))


def _seconds(field: bytes) -> int | None:
    if not field:
        return None
    try:
        return int(parsedate_to_datetime(field.decode("latin-1")).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # a date that is none is ignored (section 13.1.3)

"""Static files below one root: found, checked, described, and read straight into the mesh's buffers.

A file is shared by all who ask for it. Small ones stay in memory; a large one holds its descriptor while anyone
downloads it. Every use starts with a stat, so an answer is never older than the file; one that is given again (Prepared
in routes.py) by `limits.FRESH` at most.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from email.utils import formatdate
from pathlib import Path
from typing import Final

from dlibos_node.apps.web import limits

Signature = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, modification and change time in ns: two equal ones are the same file, unchanged."""

_STATUS_OF_ERRNO: Final = {
    errno.EACCES: 403,
    errno.EPERM: 403,
    errno.ENOENT: 404,
    errno.ENOTDIR: 404,
    errno.ELOOP: 404,
    errno.ENAMETOOLONG: 404,
    errno.ENXIO: 404,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
}
# Not blocking, or the open of a FIFO would wait for a writer; the file is refused afterwards.
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_TYPES: Final = mimetypes.MimeTypes()


class StaticFile:
    """One version of a file: its validators, and either its content or a descriptor to read it from."""

    __slots__ = ("content", "etag", "fd", "fields", "modified", "path", "signature", "size", "users")

    def __init__(self, path: str, status: os.stat_result, content: bytes | None = None, fd: int = -1) -> None:
        self.path: Final = path
        self.signature: Final = signature(status)
        self.size: Final = status.st_size if content is None else len(content)
        self.modified: Final = int(status.st_mtime)
        """Seconds since the epoch, as Last-Modified says it."""
        self.etag: Final = b'"%x-%x"' % (status.st_mtime_ns, status.st_size)
        self.fields: Final = _describe(path, self.etag, self.modified)
        self.content: Final = content
        self.fd = fd
        self.users = 0

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with what lies at `offset`; answers the bytes read, 0 when the file has become shorter."""
        return os.preadv(self.fd, [buffer], offset)


class FileStore:
    """The files below `root`, by path."""

    __slots__ = ("_files", "_prefix", "_root", "_small", "open_files")

    def __init__(self, root: Path) -> None:
        self._root: Final = os.path.realpath(root)
        self._prefix: Final = self._root.rstrip("/") + "/"
        self._files: Final[dict[str, StaticFile]] = {}
        self._small = 0
        self.open_files = 0
        """Descriptors held."""

    def __len__(self) -> int:
        return len(self._files)

    def acquire(self, path: str) -> StaticFile | int:
        """Find the file at `path` ("/a/b") for one use, which ends with `release`; or the status that says why not.

        301 stands for a directory that was asked for without its last slash.
        """
        full = self._root + path + ("index.html" if path.endswith("/") else "")
        try:
            status = examine(full)
            if not stat.S_ISREG(status.st_mode):
                return 301 if stat.S_ISDIR(status.st_mode) and self._holds(full) and not path.endswith("/") else 404
            known = self._files.get(full)
            file = known if known is not None and known.signature == signature(status) else self._open(full)
        except OSError as error:
            return _STATUS_OF_ERRNO.get(error.errno or 0, 500)
        if isinstance(file, StaticFile):
            file.users += 1
        return file

    def release(self, file: StaticFile) -> None:
        """End one use."""
        file.users -= 1
        if file.users == 0 and file.fd >= 0:
            os.close(file.fd)
            file.fd = -1
            self.open_files -= 1
            if self._files.get(file.path) is file:
                del self._files[file.path]

    def _holds(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self._prefix)

    def _open(self, full: str) -> StaticFile | int:
        fd = os.open(full, _OPEN_FLAGS)
        try:
            status = os.fstat(fd)
            # Asked of the open file, so that no link swapped in between can lead out of the root.
            if not self._holds(f"/proc/self/fd/{fd}") or not stat.S_ISREG(status.st_mode):
                return 404
            if status.st_size <= limits.SMALL_FILE:
                return self._keep_small(StaticFile(full, status, os.pread(fd, limits.SMALL_FILE, 0)))
            if self.open_files >= limits.OPEN_FILES:
                return 503
            file = StaticFile(full, status, fd=os.dup(fd))
            self.open_files += 1
        finally:
            os.close(fd)
        self._replace(file)
        return file

    def _keep_small(self, file: StaticFile) -> StaticFile:
        if file.size != file.signature[2]:
            return file  # caught while it was written: good for this one answer
        if self._small >= limits.SMALL_FILES:
            for path in [path for path, kept in self._files.items() if kept.content is not None]:
                del self._files[path]
            self._small = 0
        self._replace(file)
        self._small += 1
        return file

    def _replace(self, file: StaticFile) -> None:
        old = self._files.pop(file.path, None)
        if old is not None and old.content is not None:
            self._small -= 1
        self._files[file.path] = file


def examine(path: str) -> os.stat_result:
    """Stat, following links. Raises OSError."""
    return os.stat(path)  # noqa: PTH116  building a Path costs more than the call


def signature(status: os.stat_result) -> Signature:
    """Return what changes whenever the file does."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _describe(path: str, etag: bytes, modified: int) -> bytes:
    kind, encoding = _TYPES.guess_type(path, strict=False)
    if encoding is not None:
        kind = "application/gzip" if encoding == "gzip" else "application/octet-stream"
    kind = kind or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return b"Content-Type: %s\r\nLast-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n" % (
        (kind + charset).encode("ascii"),
        formatdate(modified, usegmt=True).encode(),
        etag,
    )

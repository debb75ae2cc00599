"""Where tiles lie and how messages travel: dimension-ordered routing, first along X, then along Y (PB033-02)."""

from __future__ import annotations


class Grid:
    """A mesh of `width` x `height` tiles, numbered row by row from 0."""

    __slots__ = ("height", "width")

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.width * self.height

    def position(self, tile: int) -> tuple[int, int]:
        """Return (x, y) of a tile."""
        return tile % self.width, tile // self.width

    def hops(self, source: int, destination: int) -> int:
        """Return the number of links a message crosses."""
        (x0, y0), (x1, y1) = self.position(source), self.position(destination)
        return abs(x1 - x0) + abs(y1 - y0)

    def path(self, source: int, destination: int) -> list[int]:
        """Return the tiles a message passes, both ends included."""
        (x, y), (x1, y1) = self.position(source), self.position(destination)
        passed = [source]
        while x != x1:
            x += 1 if x1 > x else -1
            passed.append(y * self.width + x)
        while y != y1:
            y += 1 if y1 > y else -1
            passed.append(y * self.width + x)
        return passed

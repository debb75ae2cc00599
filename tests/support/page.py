"""A page as a browser meets it: many images, scripts and style sheets of mixed sizes; its own script reports them."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

IMAGES = 44
SCRIPTS = 12
SHEETS = 8
PARTS = IMAGES + SCRIPTS + SHEETS

# At `load` everything was fetched or has failed. A damaged image has no width, a lost script leaves its number out of
# `sum`, a lost sheet its rule out of the page; bytes are what the browser counted.
REPORT = """\
<script>
var sum = 0;
window.onload = () => {
  const parts = performance.getEntriesByType("resource").filter(part => part.name.includes("/part-"));
  document.getElementById("report").textContent = JSON.stringify({
    fetched: parts.length,
    bytes: parts.reduce((total, part) => total + part.encodedBodySize, 0),
    images: [...document.images].filter(image => image.naturalWidth > 0).length,
    scripts: sum,
    sheets: [...document.querySelectorAll("i")].filter(mark => getComputedStyle(mark).zIndex === "7").length,
  });
};
</script>
"""


def png(side: int, pixels: bytes) -> bytes:
    """Return a square picture, uncompressed; three bytes a pixel, each part with the checksum that browsers verify."""
    rows = b"".join(b"\0" + pixels[at : at + 3 * side] for at in range(0, 3 * side * side, 3 * side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def write_page(folder: Path, seed: int = 1) -> dict[str, int]:
    """Write index.html and its parts; return the report that a browser must come to."""
    chance = random.Random(seed)
    head, body = [REPORT], ['<pre id="report">not loaded</pre>']
    for number in range(IMAGES):
        side = chance.choice((1, 8, 30, 100, 250, 400))
        (folder / f"part-{number}.png").write_bytes(png(side, chance.randbytes(3 * side * side)))
        body.append(f'<img src="part-{number}.png">')
    for number in range(SCRIPTS):
        padding = "x" * chance.choice((0, 2000, 40_000, 300_000))
        (folder / f"part-{number}.js").write_text(f"sum += {1 << number}; /* {padding} */")
        head.append(f'<script src="part-{number}.js" defer></script>')
    for number in range(SHEETS):
        padding = "y" * chance.choice((0, 3000, 80_000))
        (folder / f"part-{number}.css").write_text(f"#s{number} {{ position: relative; z-index: 7 }} /* {padding} */")
        head.append(f'<link rel="stylesheet" href="part-{number}.css">')
        body.append(f'<i id="s{number}"></i>')
    page = "<!doctype html><html><head>{}</head><body>{}</body></html>"
    (folder / "index.html").write_text(page.format("\n".join(head), "\n".join(body)))
    size = sum(file.stat().st_size for file in folder.glob("part-*"))
    return {"fetched": PARTS, "bytes": size, "images": IMAGES, "scripts": (1 << SCRIPTS) - 1, "sheets": SHEETS}

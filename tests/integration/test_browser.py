"""A real browser's parallel fetch: it cannot tell the mesh from an ordinary server."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.commandline import DLIBOS, LIMIT, up
from tests.support.page import write_page

pytestmark = pytest.mark.integration
# It must ask nobody but the mesh, and keep its files where the test does.
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-proxy-server --disable-sync "
    "--disable-background-networking --disable-component-update --disable-extensions --virtual-time-budget=30000"
)


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """Chromium, told to print the page as it stands when it has been loaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    return [program, *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]


def visit(browser: Sequence[str], url: str) -> object:
    """Return what the page reports of itself."""
    only = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {url.split('/')[2].partition(':')[0]}"
    done = subprocess.run([*browser, only, url], capture_output=True, text=True, check=False, timeout=LIMIT)
    found = re.search(r'<pre id="report">(.*?)</pre>', done.stdout)
    assert found is not None, done.stdout[:1000] + done.stderr[-1000:]
    return json.loads(html.unescape(found[1]))


def test_a_browser_loads_every_part_of_a_page(
    base: Path, nic: str, port: int, tmp_path: Path, browser: list[str]
) -> None:
    expected = write_page(tmp_path)
    up("--nic", nic, "--publish", f"{port}:80", "--root", str(tmp_path), "--driver", "2", "--app", "2")
    assert visit(browser, f"http://127.0.0.1:{port}/") == expected


def test_a_browser_inside_the_namespace(base: Path, nic: str, tmp_path: Path, browser: list[str]) -> None:
    if nic == "user":
        pytest.skip("only a TAP device has a namespace to be inside of")
    expected = write_page(tmp_path)
    up("--nic", nic, "--root", str(tmp_path))
    assert visit([*DLIBOS, "exec", "--", *browser], "http://10.77.0.2/") == expected

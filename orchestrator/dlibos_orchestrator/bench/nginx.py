"""The reference server: nginx with one worker in a network namespace of its own, joined to the mesh's by a veth pair.

      mesh's namespace                               nginx's namespace
  wrk, dlibos0 (TAP), veth 10.78.0.1/24 ──────── veth 10.78.0.2/24, nginx :80

So the same client, in one place, crosses one virtual device to either server. The namespace and the pair have no name
outside: they end with nginx, and nginx ends with the process that started it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dlibos_orchestrator.bench import programs
from dlibos_orchestrator.errors import MachineError, StartError

ADDRESS: Final = "10.78.0.2"
CLIENT_ADDRESS: Final = "10.78.0.1"
PREFIX: Final = 24
VETH: Final = "veth-nginx"
CLIENT_VETH: Final = "veth-client"
MAX_CONNECTIONS: Final = 10_000
START_PATIENCE: Final = 10.0  # seconds
STOP_PATIENCE: Final = 3.0  # seconds
POLL: Final = 0.02  # seconds

# No master process: the one worker is then the very process we started, so it cannot outlive it and stays
# the user who may read the root. What it does for a connection is the same. User root is us, also in a user namespace.
CONFIG: Final = """\
master_process off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    default_type text/html;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 80 backlog=4096;
        root {root};
    }}
}}
"""


def config(folder: Path, root: Path) -> str:
    """Return the configuration that serves `root` and keeps nginx's own files in `folder`."""
    return CONFIG.format(folder=folder, root=root, connections=MAX_CONNECTIONS + 64)


@contextmanager
def serving(keeper: int, folder: Path, root: Path) -> Iterator[int]:
    """Run nginx, reachable at ADDRESS from the network namespace of process `keeper`; end it whatever happens.

    Gives its process id.
    """
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(config(folder, root))
    with (folder / "output.log").open("wb") as output:
        child = subprocess.Popen(
            _command(keeper, file, folder / "error.log"),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        _await_start(child, folder)
        _join(keeper, child.pid)
        yield child.pid
    finally:
        _stop(child)


def version() -> str:
    """Return "nginx/1.22.1"."""
    return programs.first_line([programs.path_of("nginx"), "-v"]).removeprefix("nginx version: ")


def _command(keeper: int, file: Path, log: Path) -> list[str]:
    """Each word of the chain becomes the next by exec, so the child's process id is nginx's."""
    fresh = [*programs.inside(keeper, kinds=()), programs.path_of("unshare"), "--net", "--"]
    mortal = [programs.path_of("setpriv"), "--pdeathsig", "TERM", "--"]
    return [*fresh, *mortal, programs.path_of("nginx"), "-e", str(log), "-c", str(file), "-g", "daemon off;"]


def _await_start(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Nginx writes its process id when its sockets listen."""
    deadline = time.monotonic() + START_PATIENCE
    while not (folder / "nginx.pid").exists():
        if child.poll() is not None:
            raise StartError(f"nginx ended: {_words(folder) or 'without a word'}")
        if time.monotonic() > deadline:
            raise StartError(f"nginx did not listen after {START_PATIENCE:g} s; try again on a less busy machine")
        time.sleep(POLL)


def _words(folder: Path) -> str:
    lines = [line for log in ("error.log", "output.log") if (folder / log).exists() for line in _lines(folder / log)]
    return next((line for line in lines if "[emerg]" in line), lines[-1] if lines else "")


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _join(keeper: int, pid: int) -> None:
    """Join the two namespaces by a veth pair."""
    _ip(keeper, [f"link add {CLIENT_VETH} type veth peer name {VETH} netns {pid}", *_up(CLIENT_VETH, CLIENT_ADDRESS)])
    _ip(pid, ["link set lo up", *_up(VETH, ADDRESS)])


def _up(device: str, address: str) -> list[str]:
    return [f"address add {address}/{PREFIX} dev {device}", f"link set {device} up"]


def _ip(pid: int, lines: Sequence[str]) -> None:
    command = [*programs.inside(pid), programs.path_of("ip"), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no word"])[0]
        raise MachineError(f"no veth pair between the mesh and nginx: ip: {words}; run as root, or see `dlibos doctor`")


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()

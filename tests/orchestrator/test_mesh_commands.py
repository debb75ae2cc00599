"""`dlibos config`, `validate` and `place`: what needs nothing running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlibos_orchestrator.cli import main, up
from dlibos_orchestrator.cli.meshfile import options_of
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import AutoscaleLimits, Domain, Faults, Published

FULL = """\
[mesh]
name = "shop"
mesh = "4x4"
driver = 2
stack = 3
idle = 2

[nic]
kind = "user"
publish = ["8080:80", "127.0.0.1:8081:81"]
fault = "loss=0.5,seed=7"

[tunables]
backlog = 64

[[domain]]
name = "a"
app = 2
root = "www"

[[domain]]
name = "b"
port = 81

[autoscale]
high = 0.9
low = 0.25
hold = "2s"
rest = 30
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    return tmp_path / "mesh.toml"


def test_a_full_file_is_understood(file: Path) -> None:
    file.write_text(FULL)
    options = options_of(file, up.mesh_parser())
    assert (options.name, options.width, options.driver, options.stack, options.idle) == ("shop", 4, 2, 3, 2)
    assert options.publish == (Published("127.0.0.1", 8080, 80), Published("127.0.0.1", 8081, 81))
    assert (options.nic, options.fault, options.tune) == ("user", Faults(seed=7, loss=0.5), {"backlog": 64})
    assert options.domain == (Domain("a", app=2, root=file.parent / "www"), Domain("b", port=81))
    assert options.autoscale == AutoscaleLimits(0.9, 0.25, 2.0, 30.0)


@pytest.mark.parametrize("text", ["", FULL, '[mesh]\nprotection = "fused"\ndriver = 2\n', "[mesh]\napp = 3\n"])
def test_the_effective_file_describes_the_same_mesh(file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(text)
    before = options_of(file, up.mesh_parser())
    assert main.run(["config", str(file)]) == 0
    file.write_text(capsys.readouterr().out)
    after = options_of(file, up.mesh_parser())
    assert after.domains == before.domains
    assert before.tune.items() <= after.tune.items()
    same = ("name", "width", "height", "driver", "stack", "idle", "publish", "nic", "fault", "protection", "autoscale")
    assert [getattr(after, key) for key in same] == [getattr(before, key) for key in same]
    assert main.run(["config", str(file)]) == 0
    assert capsys.readouterr().out == file.read_text(), "filling in a full file changes nothing"


def test_the_effective_file_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["config", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tunables"]["buckets"] == 4160
    assert document["domain"] == [{"name": "default", "kind": "web", "port": 80, "app": 1}]


def test_all_that_is_wrong_is_said_at_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(
        '[mesh]\nrot = 1\nnic = "tap"\n[nic]\nkind = "user"\nfault = "los=1"\n[tunables]\nbaklog = 1\nbuckets = 0\n'
        '[[domain]]\nname = "A"\nprt = 1\n[autoscale]\nhigh = 2\nhig = 1\n[mash]\n'
    )
    assert main.run(["validate", str(file)]) == 2
    output = capsys.readouterr()
    lines = [line.removeprefix(f"dlibos: {file}: ") for line in output.err.splitlines()]
    assert output.out == ""
    assert lines == [
        "unknown table or key 'mash'; did you mean 'mesh'?",
        "unknown key 'rot' in [mesh]; did you mean 'root'?",
        "'kind' in [nic] was said in [mesh] already; leave one out",
        "key 'fault' in [nic]: unknown fault 'los'; known: loss, duplicate, corrupt, reorder (0 to 1) and seed",
        "key 'baklog' in [tunables]: unknown tunable 'baklog'; did you mean 'backlog'?",
        "key 'buckets' in [tunables]: 'buckets=0': buckets is a number from 1 to 65536",
        "unknown key 'prt' in [[domain]] 1; did you mean 'port'?",
        "[[domain]] 1: 'name=A' needs a name of a-z 0-9 _ -, such as name=a,port=80",
        "key 'high' in [autoscale]: high=2 is not a share from 0 to 1",
        "unknown key 'hig' in [autoscale]; did you mean 'high'?",
    ]
    with pytest.raises(UsageError, match="and 9 more: `dlibos validate"):
        options_of(file, up.mesh_parser())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[mesh]\nmesh = "2x1"\n', "3 tiles do not fit on a 2x1 mesh"),
        ("[autoscale]\nhigh = 0.8\nlow = 0.7\n", "is more than half of high=0.8"),
        ("[mesh\n", "not TOML"),
        ("domain = 1\n", "'domain' is not a list of tables; write [[domain]] above each"),
        ("nic = 1\n", "'nic' is not a table; write [nic]"),
    ],
)
def test_a_mesh_that_cannot_be_is_not_valid(
    file: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert main.run(["validate", str(file)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"dlibos: {file}")
    assert words in complaint


def test_a_good_file_is_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FULL)
    assert main.run(["validate", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_up_takes_one_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[mash]\n")
    assert main.run(["up", str(file)]) == 2
    assert "unknown table or key 'mash'" in capsys.readouterr().err
    assert main.run(["up", str(file), "--config", str(file)]) == 2
    assert "two mesh files" in capsys.readouterr().err


def test_the_map_shows_roles_and_what_a_request_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["place", "--mesh", "4x2", "--app", "2", "--idle", "1", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["y\\x 0     1     2     3", "0   D 0   S 1   A 2   i 3", "1   .     A 5   .     ."]
    assert "a request crosses 4.00 links (placed row by row: 5.00)" in lines[4]
    assert [line.split()[0] for line in lines[5:8]] == ["edge", "driver", "stack"]


def test_the_map_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["place", "--stack", "4", "--app", "8", "-o", "json"]) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert (drawn["width"], drawn["height"], len(drawn["tiles"])) == (6, 6, 13)
    assert drawn["request"]["hops"] < drawn["row_major"]["hops"]
    assert all(tile["tile"] == tile["y"] * 6 + tile["x"] for tile in drawn["tiles"])


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--mesh", "2x1"], 2, "3 tiles do not fit on a 2x1 mesh"),
        (["--name", "default"], 1, "no mesh 'default' is up"),
        (["--name", "default", "--stack", "2"], 2, "leave --stack out"),
    ],
)
def test_a_map_that_cannot_be_drawn(
    argv: list[str], code: int, words: str, runtime_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["place", *argv]) == code
    assert words in capsys.readouterr().err
    assert list(runtime_directory.iterdir()) == []

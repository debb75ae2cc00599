from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dlibos_orchestrator.cli import main, up
from dlibos_orchestrator.cli.config import read_config
from dlibos_orchestrator.cli.main import build_parser
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import AutoscaleLimits, Faults, MeshOptions, Published


def options_of(*argv: str) -> MeshOptions:
    args = build_parser().parse_args(["up", *argv])
    if (file := args.file or args.config) is not None:
        up.merge_config(args, read_config(file, args.parser))
    return up.mesh_options(args)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mesh.toml"


def test_keys_are_the_flags_and_flags_override_them(file: Path) -> None:
    file.write_text(
        '[mesh]\ndriver = 2\nstack = 3\npublish = ["8080:80", "8081:81"]\n'
        'mesh = "4x4"\nfault = "loss=0.5"\nroot = "www"\ntune = "backlog=64"\n'
    )
    options = options_of("--config", str(file), "--stack", "1")
    assert (options.driver, options.stack, options.app) == (2, 1, 1)
    assert options.publish == (Published("127.0.0.1", 8080, 80), Published("127.0.0.1", 8081, 81))
    assert (options.width, options.height) == (4, 4)
    assert options.fault == Faults(loss=0.5)
    assert options.tune == {"backlog": 64}
    assert options.root == file.parent / "www", "a path in a file is relative to the file"


def test_a_flag_that_may_repeat_replaces_the_files_list(file: Path) -> None:
    file.write_text('[mesh]\npublish = "8080:80"\n')
    assert options_of("--config", str(file), "--publish", "9090:90").publish == (Published("127.0.0.1", 9090, 90),)


def test_the_wait_flag_is_a_boolean_in_a_file(file: Path) -> None:
    file.write_text("[mesh]\nwait = true\n")
    assert read_config(file, build_parser().parse_args(["up"]).parser) == {"wait": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[mesh]\nrot = 1\n", "unknown key 'rot' in [mesh]; did you mean 'root'?"),
        ("[mesh]\nconfig = 'x'\n", "unknown key 'config' in [mesh]"),
        ("[mash]\n", "unknown table or key 'mash'; did you mean 'mesh'?"),
        ("mesh = 1\n", "'mesh' is not a table"),
        ("[mesh\n", "not TOML"),
        ("[mesh]\ndriver = 'x'\n", "key 'driver' in [mesh]: 'x' is not a count"),
        ("[mesh]\ndriver = true\n", "key 'driver' in [mesh]: True is not a string or a whole number"),
        ("[mesh]\ntune = 'backlog=0'\n", "key 'tune' in [mesh]: 'backlog=0': backlog is a number from 1 to 65536"),
        ("[mesh]\nwait = 1\n", "key 'wait' in [mesh]: 1 is not true or false"),
        ("[mesh]\nnic = 'tup'\n", "key 'nic' in [mesh]: 'tup'; did you mean 'tap'?"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as refusal:
        options_of("--config", str(file))
    assert str(refusal.value).startswith(str(file))
    assert words in str(refusal.value)


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        options_of("--config", str(file))


WHOLE = """\
[mesh]
size = "4x4"
stack = 2
publish = ["8080:80"]
broker = "mosquitto"

[nic]
kind = "user"
fault = { loss = 0.01, seed = 3 }

[tunables]
backlog = 64
moderation_us = 0

[[domain]]
name = "shop"
port = 80
app = 2

[[domain]]
name = "blog"
port = 81
root = "."

[autoscale]
high = 0.9
hold = "2s"
"""


def test_every_table_of_a_mesh_file(file: Path) -> None:
    file.write_text(WHOLE)
    options = options_of(str(file))
    assert (options.width, options.stack, options.broker, options.nic) == (4, 2, "mosquitto", "user")
    assert options.fault == Faults(seed=3, loss=0.01)
    assert options.tune == {"backlog": 64, "moderation_us": 0}
    assert [(one.name, one.port, one.app, one.root) for one in options.domain] == [
        ("shop", 80, 2, None),
        ("blog", 81, 1, file.parent),
    ]
    assert options.autoscale == AutoscaleLimits(high=0.9, hold=2.0)


def test_what_config_prints_is_read_again_as_the_same_mesh(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(WHOLE)
    assert main.run(["config", str(file)]) == 0
    again = file.with_name("again.toml")
    again.write_text(capsys.readouterr().out)
    printed, read = options_of(str(again)), options_of(str(file))
    assert printed == replace(read, tune=printed.tune)
    assert printed.tune.items() >= read.tune.items()
    assert main.run(["config", str(again)]) == 0
    assert capsys.readouterr().out == again.read_text()
    assert main.run(["config", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["mesh"]["size"] == "6x6"


def test_validate_says_all_that_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(
        '[mesh]\nrot = 1\ndriver = "x"\nnic = "tap"\n[nic]\nkind = "user"\nkimd = 1\n[tunables]\nbacklog = 0\n'
        '[[domain]]\nname = "a"\nprot = 80\n[autoscale]\nhigh = 2\n[mash]\n'
    )
    assert main.run(["validate", str(file)]) == 2
    problems = capsys.readouterr().out.splitlines()
    for words in (
        "unknown key 'rot' in [mesh]; did you mean 'root'?",
        "key 'driver' in [mesh]: 'x' is not a count",
        "key 'kind' in [nic]: it is said twice",
        "unknown key 'kimd' in [nic]; did you mean 'kind'?",
        "key 'backlog' in [tunables]",
        "unknown key 'prot' in [[domain]] 1; did you mean",
        "key 'high' in [autoscale]: '2' is not a part of 1",
        "unknown table or key 'mash'; did you mean 'mesh'?",
    ):
        assert [line for line in problems if words in line], (words, problems)
    assert len(problems) == 8


def test_validate_tries_whether_such_a_mesh_can_be(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('[mesh]\nsize = "2x2"\nstack = 9\n')
    assert main.run(["validate", "-o", "json", str(file)]) == 2
    assert "11 tiles do not fit on a 2x2 mesh" in json.loads(capsys.readouterr().out)[0]
    file.write_text("[mesh]\nstack = 2\n")
    assert main.run(["validate", "-o", "json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    file.write_text("domain = 1\n")
    assert main.run(["config", str(file)]) == 2
    assert "'domain' is not a list of tables" in capsys.readouterr().err

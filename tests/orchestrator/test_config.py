from __future__ import annotations

from pathlib import Path

import pytest

from dlibos_orchestrator.cli import up
from dlibos_orchestrator.cli.main import build_parser
from dlibos_orchestrator.cli.meshfile import mesh_options, read_file
from dlibos_orchestrator.errors import UsageError
from dlibos_orchestrator.model.options import Faults, MeshOptions, Published


def options_of(*argv: str) -> MeshOptions:
    args = build_parser().parse_args(["up", *argv])
    if args.config is not None:
        up.merge_config(args, read_file(args.config, args.parser))
    return mesh_options(args)


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
    assert read_file(file, build_parser().parse_args(["up"]).parser) == {"wait": True}


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

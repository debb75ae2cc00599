from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dlibos_orchestrator.cli import main


def test_every_command_can_be_run_and_has_a_name_of_its_own() -> None:
    names = [command.NAME for command in main.COMMANDS]
    assert len(set(names)) == len(names)
    assert all(callable(command.run) for command in main.COMMANDS)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["upp"], "dlibos: unknown command 'upp'; did you mean 'up'?; see `dlibos --help`"),
        (["up", "--rot"], "dlibos up: unknown argument '--rot'; did you mean '--root'?; see `dlibos up --help`"),
        (["up", "--dri", "3"], "dlibos up: unknown argument '--dri'; did you mean '--driver'?; see `dlibos up --help`"),
        (["down", "extra"], "dlibos down: unknown argument 'extra'; see `dlibos down --help`"),
        (
            ["up", "--driver", "x"],
            "dlibos up: argument --driver: 'x' is not a count; expected a number such as 2; see `dlibos up --help`",
        ),
        (
            ["up", "--tune", "backlog=0"],
            "dlibos up: argument --tune: 'backlog=0': backlog is a number from 1 to 65536; see `dlibos up --help`",
        ),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main.run(argv)
    assert leaving.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_no_command_prints_the_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    output = capsys.readouterr()
    assert "COMMAND" in output.err
    assert output.out == ""


def test_the_version_says_which_core_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "core_is_compiled", lambda: True)
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.strip().endswith("(core: compiled)")
    monkeypatch.undo()
    package = tmp_path / "dlibos_node"
    (package / "tcp").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "dlibos_node", raising=False)
    assert not main.core_is_compiled()
    (package / "tcp" / "sender.cpython-311-x86_64-linux-gnu.so").touch()
    assert main.core_is_compiled()


def test_listing_no_mesh_is_an_empty_list(runtime_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["ps", "-o", "json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == []
    assert "no mesh 'default' is up" in output.err
    assert list(runtime_directory.iterdir()) == []


def test_taking_down_no_mesh_is_no_failure(runtime_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["down"]) == 0
    assert "nothing to take down" in capsys.readouterr().err
    assert list(runtime_directory.iterdir()) == []


@pytest.mark.parametrize("argv", [["exec", "--", "true"], ["logs"]])
def test_commands_that_need_a_mesh_say_how_to_get_one(
    argv: list[str], runtime_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(argv) == 1
    assert capsys.readouterr().err == "dlibos: no mesh 'default' is up; start one with `dlibos up`\n"
    assert list(runtime_directory.iterdir()) == []


@pytest.mark.parametrize("command", ["up", "ps", "down", "logs"])
def test_a_file_system_that_refuses_is_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLIBOS_RUNTIME_DIR", str(tmp_path / ("x" * 300)))
    assert main.run([command]) == 1
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("dlibos: ")
    assert "DLIBOS_RUNTIME_DIR" in complaint or complaint.endswith("; see `dlibos doctor`")


def test_a_mesh_name_cannot_leave_the_runtime_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["down", "--name", "../../etc"]) == 2
    assert "use 1 to 32 of a-z" in capsys.readouterr().err


def test_completion_knows_every_command_and_is_valid_bash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = f'{script}\nCOMP_WORDS=(dlibos up --pu); COMP_CWORD=2; _dlibos; echo "${{COMPREPLY[@]}}"'
    answer = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "--publish"
    for shell in ("zsh", "fish"):
        main.run(["completion", shell])
        assert all(command.NAME in capsys.readouterr().out for command in main.COMMANDS[:1])

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from pipelines.cli import main

HEAVY = ("apache_beam", "great_expectations", "onnxruntime", "pandas", "pyarrow", "numpy", "tokenizers", "torch")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own, which then prints the heavy modules that it loaded."""
    program = (
        "import sys\n"
        "from pipelines.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:], prog_name='docyard')\n"
        "finally:\n"
        f"    print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("classify", "--help")], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    ended = _run(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(("Usage: docyard", "docyard, version"))
    assert ended.stderr.strip() == "loaded:"


def test_a_wrong_flag_is_refused_without_loading_anything_heavy() -> None:
    ended = _run("classify", "--no-such-flag")
    assert ended.returncode == 2
    assert "--no-such-flag" in ended.stderr
    assert ended.stderr.strip().endswith("loaded:")


def _every_command(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from _every_command(command, (*words, name))


COMMANDS = dict(_every_command(main))
GROUPS: dict[tuple[str, ...], click.Command] = {(): main} | {
    words: command for words, command in COMMANDS.items() if isinstance(command, click.Group)
}


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_the_list_of_commands_says_in_a_whole_line_what_each_one_does(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    listed = result.output.split("\nCommands:\n")[1]
    assert "..." not in listed
    group = GROUPS[words]
    assert isinstance(group, click.Group)
    for name, command in group.commands.items():
        [line] = [line for line in listed.splitlines() if line.split()[0] == name]
        assert line.split()[1:] == (command.help or "").split("\n")[0].split()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_and_every_option_says_what_it_does(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {' '.join(words)} ")
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, parameter.name


@pytest.mark.parametrize("flag", ["--warehouse", "--config", "--database", "--json"])
def test_an_option_of_several_commands_is_the_same_in_all_of_them(flag: str) -> None:
    others = {words: command for words, command in COMMANDS.items() if (words, flag) != (("certify",), "--json")}
    declared = [item for command in others.values() for item in command.params if flag in item.opts]
    assert len(declared) > 1
    for item in declared:
        assert isinstance(item, click.Option)
        assert (item.name, item.metavar, type(item.type)) == (
            declared[0].name,
            declared[0].metavar,
            type(declared[0].type),
        )
        assert (item.help or "").split("  [")[0] == (getattr(declared[0], "help", "") or "").split("  [")[0]

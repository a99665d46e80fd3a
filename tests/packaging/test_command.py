from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipelines.cli import commands, main

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


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_a_help_that_says_what_it_does(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert (commands()[name].help or "").splitlines()[0].rstrip(".").split()[0] in result.output


def test_every_option_has_a_help_or_a_default_that_speaks() -> None:
    for name, command in commands().items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.show_default, f"{name} {parameter.name}"

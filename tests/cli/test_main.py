from __future__ import annotations

import subprocess
import sys

import pytest

from langchain_xlm import __version__
from langchain_xlm.cli.main import COMMANDS

# What `--help` must not import: seconds before the first line.
HEAVY = {"torch", "transformers", "langchain_core", "pydantic", "numpy", "pyarrow"}


def test_help_lists_every_command_with_its_summary(command):
    outcome = command("--help")
    assert outcome.code == 0
    for name, summary in COMMANDS.items():
        assert name in outcome.out
        assert summary in outcome.out


def test_no_arguments_show_the_help_and_count_as_misuse(command):
    outcome = command()
    assert outcome.code == 2
    assert "Usage: langchain-xlm" in outcome.out + outcome.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(command, name):
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert f"Usage: langchain-xlm {name}" in outcome.out


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from langchain_xlm.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print(sorted(sys.modules), file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "Usage" in run.stdout
    loaded = {name.strip("' ").partition(".")[0] for name in run.stderr.strip("[]\n").split(",")}
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_help_of_a_command_loads_no_torch():
    program = (
        "import sys\n"
        "from langchain_xlm.cli.main import main\n"
        "try:\n    main(['translate', '--help'])\n"
        "except SystemExit:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stderr.strip() == "False"


def test_the_module_is_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "langchain_xlm.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == __version__


def test_version(command):
    assert command("--version").out.strip() == __version__


def test_an_unknown_command_is_misuse(command):
    outcome = command("transalte", "Hello")
    assert outcome.code == 2
    assert "transalte" in outcome.err


def test_a_failure_is_one_sentence_without_traceback(command, tmp_path):
    outcome = command("translate", "--to", "fr", "--file", tmp_path / "missing.txt")
    assert outcome.code == 1
    assert outcome.err == f"langchain-xlm: {tmp_path / 'missing.txt'}: No such file or directory\n"


def test_debug_shows_where_a_failure_came_from(command, tmp_path, monkeypatch):
    monkeypatch.setenv("LANGCHAIN_XLM_DEBUG", "")  # restored after the test
    outcome = command("--debug", "translate", "--to", "fr", "--file", tmp_path / "missing.txt")
    assert outcome.code == 1
    assert "Traceback" in outcome.err

"""What holds for the package as a whole: names, imports, layers, the wheel."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import langchain_xlm
from langchain_xlm import errors

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )


def test_public_names_are_sorted_and_all_there():
    assert langchain_xlm.__all__ == sorted(langchain_xlm.__all__)
    for name in langchain_xlm.__all__:
        assert getattr(langchain_xlm, name).__name__ == name
    assert set(langchain_xlm.__all__) <= set(dir(langchain_xlm))


def test_public_names_are_documented():
    for name in langchain_xlm.__all__:
        assert inspect.getdoc(getattr(langchain_xlm, name)), name


def test_every_exception_is_public():
    assert set(errors.__all__) <= set(langchain_xlm.__all__)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = langchain_xlm.no_such_name


def test_version_is_that_of_the_project():
    assert langchain_xlm.__version__ == PROJECT["project"]["version"]


def test_import_is_quick_and_light():
    program = (
        "import sys, time\n"
        "before = time.process_time()\n"
        "import langchain_xlm\n"
        "print(time.process_time() - before, *sys.modules)\n"
    )
    seconds = []
    for _ in range(3):
        taken, *modules = python(program).stdout.split()
        roots = {name.partition(".")[0] for name in modules}
        assert roots & {"torch", "transformers", "langchain_core", "pydantic", "numpy"} == set()
        seconds.append(float(taken))
    assert min(seconds) < 0.1


def test_building_every_public_object_loads_no_model_library():
    python(
        "import sys\n"
        "from langchain_xlm import *\n"
        "XLMEmbeddings(), XLMTranslationTool(), XLMSummarizationTool(), XLMSentimentTool()\n"
        "XLMToolkit().get_tools()\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'bitsandbytes'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )


def test_the_picture_of_the_layers_is_the_contract():
    layers = next(
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["id"] == "layers"
    )
    packages = {path.parent.name for path in ROOT.glob("langchain_xlm/*/__init__.py")}
    # Layers in parentheses are planned; the picture shows what there is.
    contract = [
        " | ".join(name for name in re.findall(r"\w+", layer) if name in packages | {"errors"})
        for layer in layers
    ]
    page = ROOT.joinpath("docs/architecture.md").read_text("utf-8")
    picture = re.search(r"```text\n(cli\n.*?)```", page, re.DOTALL)[1]
    assert picture.splitlines() == [layer for layer in contract if layer]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "langchain_xlm",
        f"langchain_xlm-{PROJECT['project']['version']}.dist-info",
    }
    assert "langchain_xlm/py.typed" in names
    inside = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("langchain_xlm/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside <= set(names), "a file of the package is left out, such as a weight"


def test_the_command_is_installed_by_the_wheel(wheel):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "langchain-xlm = langchain_xlm.cli.main:main" in wheel.read(entry_points).decode()

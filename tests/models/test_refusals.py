"""The table of refused configurations in `docs/hardware.md`, tried row by row."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_xlm.errors import ConfigurationError, XLMError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.loading import load_checkpoint, load_model

PAGE = Path(__file__).parents[2] / "docs" / "hardware.md"
_ROW = re.compile(r"^\| `(XLM\w+\(.+\))` \| (.+) \|$", re.MULTILINE)

# Tries every row twice, since the first use of a class may import something, and times the best
# of five. An audit hook can never be removed, so this runs in a process of its own.
_TRY = """
import sys, time
import langchain_xlm
from pydantic import ValidationError
from tests.models.test_refusals import rows
table = rows()
public = {name: getattr(langchain_xlm, name) for name in langchain_xlm.__all__}
seen = []

def answer(code):
    start = time.perf_counter()
    try:
        eval(code, dict(public))
    except ValidationError as error:
        taken = time.perf_counter() - start
        (one,) = error.errors()
        return one["msg"].removeprefix("Value error, "), taken
    raise SystemExit(f"accepted: {code}")

compiled = [(compile(code, code, "eval"), message) for code, message in table]
for code, _ in compiled:
    answer(code)
watched = ("open", "os.listdir", "os.scandir", "socket.connect", "subprocess.Popen", "import")
sys.addaudithook(lambda event, args: event in watched and seen.append((event, args)))
for (code, _), (text, message) in zip(compiled, table):
    tries = [answer(code) for _ in range(5)]
    assert tries[0][0] == message, f"{text}\\n  says: {tries[0][0]}"
    assert min(taken for _, taken in tries) < 0.05, (text, tries)
    print(f"{min(taken for _, taken in tries) * 1000:.2f} ms  {text}")
assert not seen, seen
"""


def rows() -> list[tuple[str, str]]:
    """Each configuration of the page, as it is written, with the sentence that it gives."""
    return _ROW.findall(PAGE.read_text("utf-8"))


def test_each_row_is_refused_with_its_sentence_in_50_ms_without_io() -> None:
    table = rows()
    assert len(table) >= 12
    assert len({message for _, message in table}) == len(table)
    done = subprocess.run([sys.executable, "-c", _TRY], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(table)


@pytest.mark.parametrize("load", [load_model, load_checkpoint])
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"device": "cuda:99"}, "device='cuda:99' is not"),
        ({"device_map": {"": 99}}, "device='cuda:99' is not"),
        ({"device_map": {"encoder": "cpu", "": "cuda:99"}}, "device='cuda:99' is not"),
        ({"device_map": "auto", "max_memory": {99: "6GiB"}}, "limit for GPU 99, but this machine"),
    ],
)
def test_a_device_that_is_not_here_is_refused_before_files_are_looked_for(
    load: Callable[[LoadSpec], object],
    given: dict[str, object],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What torch must be asked for is told when the model is loaded, and before anything else."""
    looked: list[str] = []
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: bool(looked.append(str(path))))
    spec = LoadSpec("encoder", "/nowhere/at/all", **given)  # type: ignore[arg-type]
    looked.clear()
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        load(spec)
    assert not looked
    # Without the device, the folder is what is wrong.
    with pytest.raises(XLMError, match="there is no folder"):
        load(LoadSpec("encoder", "/nowhere/at/all"))
    assert looked

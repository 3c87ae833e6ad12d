"""Where the hub offers safetensors of a checkpoint that has only pickled weights.

The hub is a real HTTP server on this machine, asked by the real huggingface_hub. It runs in a
process of its own, since sockets are forbidden here and the address is read when huggingface_hub
is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import Discussion

from langchain_xlm.models.pull_requests import choose_request

_HUB = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

given = json.loads(sys.argv[1])
asked = []

class Hub(BaseHTTPRequestHandler):
    def answer(self):
        path = unquote(urlsplit(self.path).path)
        asked.append(f"{self.command} {path}")
        body = b""
        if path == "/api/models/owner/name/discussions":
            status, body = given["status"], given["answer"].encode()
        else:
            status = 200 if path.removeprefix("/owner/name/resolve/") in given["files"] else 404
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {
    "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
    "HF_HUB_OFFLINE": "0",
    "NO_PROXY": "127.0.0.1",
}
from langchain_xlm.errors import ModelLoadError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.files import find_weights, missing_weights

spec = LoadSpec("encoder", "owner/name", cache_dir=given["cache"], **given["options"])
if given["options"]:
    print(json.dumps([str(missing_weights(spec)), asked]))
    raise SystemExit
try:
    find_weights(spec)
except ModelLoadError as error:
    print(json.dumps([str(error), asked]))
"""

NAMED = "give revision='refs/pr/12'"
PLAIN = "give revision='refs/pr/N'"


def ask(cache: Path, **given: Any) -> tuple[str, list[str]]:
    """Look for weights of `owner/name` at such a hub: the error, and what the hub was asked."""
    whole = {
        "status": 200,
        "files": ["main/pytorch_model.bin", "refs/pr/12/model.safetensors"],
        "cache": str(cache),
        "options": {},
    } | given
    done = subprocess.run(
        [sys.executable, "-c", _HUB, json.dumps(whole)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    message, asked = json.loads(done.stdout)
    return message, asked


def discussion(num: int, status: str, **changed: Any) -> dict[str, Any]:
    return {
        "num": num,
        "title": "Adding `safetensors` variant of this model",
        "author": {"name": "SFconvertbot"},
        "isPullRequest": True,
        "status": status,
        "createdAt": "2023-03-14T15:09:26.000Z",
        "repo": {"name": "owner/name", "type": "model"},
    } | changed


def listing(*discussions: dict[str, Any]) -> str:
    return json.dumps({"count": len(discussions), "start": 0, "discussions": discussions})


def test_the_request_of_the_converter_is_named_and_not_loaded(tmp_path: Path) -> None:
    message, asked = ask(tmp_path, answer=listing(discussion(3, "closed"), discussion(12, "open")))
    assert NAMED in message
    assert "nobody may have reviewed it" in message
    assert "/owner/name/discussions/12" in message
    assert "pytorch_model.bin" in message
    # Whether it holds the file is asked; the file is not.
    assert "HEAD /owner/name/resolve/refs/pr/12/model.safetensors" in asked
    assert [one for one in asked if one.startswith("GET")] == [
        "GET /api/models/owner/name/discussions"
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"answer": listing()},
        {"answer": "{}"},
        {"answer": "not JSON"},
        {"answer": "", "status": 403},
        {"answer": listing(discussion(12, "open")), "files": ["main/pytorch_model.bin"]},
    ],
    ids=["none", "other form", "no JSON", "forbidden", "without the file"],
)
def test_without_an_answer_the_plain_advice_stays(given: dict[str, Any], tmp_path: Path) -> None:
    message, asked = ask(tmp_path, **given)
    assert PLAIN in message
    assert "GET /api/models/owner/name/discussions" in asked


def test_nothing_is_asked_where_the_hub_may_not_be(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    for name in ("config.json", "pytorch_model.bin"):
        (snapshot / name).write_text("{}")
    message, asked = ask(
        tmp_path, answer=listing(discussion(12, "open")), options={"local_files_only": True}
    )
    assert PLAIN in message
    assert not asked


def test_open_comes_before_closed_and_new_before_old() -> None:
    def made(num: int, status: str, author: str = "SFconvertbot", **other: Any) -> Discussion:
        return Discussion(
            title="Adding `safetensors` variant of this model",
            num=num,
            status=status,  # type: ignore[arg-type]
            author=author,
            is_pull_request=other.get("is_pull_request", True),
            created_at=datetime(2023, 3, 14, tzinfo=UTC),
            repo_id="owner/name",
            repo_type="model",
            endpoint="https://huggingface.co",
        )

    def chosen(*offers: Discussion) -> int | None:
        request = choose_request(offers)
        return None if request is None else request.num

    assert chosen(made(3, "open"), made(9, "open"), made(11, "closed")) == 9
    assert chosen(made(3, "closed"), made(2, "merged"), made(1, "draft")) == 1
    assert chosen(made(3, "open", "someone"), made(2, "closed")) == 2
    assert chosen(made(3, "open", is_pull_request=False)) is None
    assert chosen() is None

"""Files of folders, and of a hub cache laid out on disk as huggingface_hub writes it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.errors import ModelLoadError, ModelNotFoundError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.files import (
    checkpoint_fingerprint,
    commit_of,
    find_file,
    find_weights,
    read_json,
    read_json_value,
)
from langchain_xlm.models.loading import load_model

Checkpoints = Callable[..., Path]

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A hub cache with two commits of `owner/name`: main is the newer, the tag v1 the older."""
    repository = tmp_path / "models--owner--name"
    shutil.copytree(checkpoints("xlm-roberta", seed=1), repository / "snapshots" / OLD)
    shutil.copytree(checkpoints("xlm-roberta", seed=2), repository / "snapshots" / NEW)
    (repository / "refs" / "refs" / "pr").mkdir(parents=True)
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    (repository / "refs" / "refs" / "pr" / "3").write_text(OLD)
    return tmp_path


def http_client() -> Any:
    """The package that huggingface_hub stands on: httpx, or httpx2 from its version 2 on."""
    from huggingface_hub import errors

    return importlib.import_module(errors.HTTPError.__module__.partition(".")[0])  # type: ignore[attr-defined]


def hub(cache: Path, model: str = "owner/name", **options: Any) -> LoadSpec:
    return LoadSpec("encoder", model, cache_dir=str(cache), **options)


@pytest.mark.parametrize(
    ("revision", "commit", "seed"),
    [(None, NEW, 2), ("main", NEW, 2), ("v1", OLD, 1), ("refs/pr/3", OLD, 1), (OLD, OLD, 1)],
)
def test_revision_chooses_the_weights(
    revision: str | None, commit: str, seed: int, cache: Path, checkpoints: Checkpoints
) -> None:
    import torch

    loaded = load_model(hub(cache, revision=revision, local_files_only=True))
    assert loaded.revision == commit == commit_of(loaded.spec)
    assert checkpoint_fingerprint(loaded.spec) == commit
    folder = load_model(LoadSpec("encoder", str(checkpoints("xlm-roberta", seed=seed))))
    for name, weight in folder.model.state_dict().items():
        assert torch.equal(weight, loaded.model.state_dict()[name])


def test_recipe_and_weights_are_of_one_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_xlm.engines import encoder_session

    real = encoder_session.load_recipe

    def moving(spec: LoadSpec) -> Any:
        recipe = real(spec)
        # Somebody updates the cache between the two.
        (cache / "models--owner--name" / "refs" / "main").write_text(OLD)
        return recipe

    monkeypatch.setattr(encoder_session, "load_recipe", moving)
    session = encoder_session.EncoderSession(hub(cache, local_files_only=True))
    assert session.info.revision == NEW


def test_what_is_not_in_the_cache_is_not_found(cache: Path) -> None:
    for spec, sentence in (
        (hub(cache, "owner/other"), "HF_HUB_OFFLINE"),
        (hub(cache, "owner/other"), "hf download owner/other"),
        (hub(cache, "owner/other", local_files_only=True), "local_files_only=True"),
        (hub(cache, revision="v2"), "its revision 'v2' is not in the cache"),
    ):
        with pytest.raises(ModelNotFoundError) as caught:
            load_model(spec)
        assert sentence in str(caught.value)
        assert caught.value.model == spec.model


def test_file_that_a_cached_checkpoint_lacks_is_none(cache: Path) -> None:
    assert find_file(hub(cache), "config.json") is not None
    assert find_file(hub(cache), "modules.json") is None
    assert read_json(hub(cache), "1_Pooling/config.json") is None


def test_pickles_of_the_hub_point_to_pull_requests(cache: Path) -> None:
    snapshot = cache / "models--owner--name" / "snapshots" / NEW
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="refs/pr/N") as caught:
        load_model(hub(cache))
    assert "pytorch_model.bin" in str(caught.value)
    # The same checkpoint at the request's revision has them.
    assert load_model(hub(cache, revision="refs/pr/3")).revision == OLD


def test_token_goes_to_the_hub_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    seen: list[dict[str, Any]] = []
    real = huggingface_hub.hf_hub_download

    def spy(*args: Any, **options: Any) -> str:
        seen.append(options)
        return real(*args, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", spy)
    find_file(hub(cache, revision="v1", token="hf_secret"), "config.json")
    assert seen[0]["token"] == "hf_secret"
    assert seen[0]["revision"] == "v1"
    assert seen[0]["cache_dir"] == str(cache)


def test_answers_of_the_hub_become_our_errors(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    httpx = http_client()

    def answer(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
        request = httpx.Request("GET", "https://huggingface.co/owner/name")
        return kind("no", response=httpx.Response(status, request=request))

    cases: list[tuple[Exception, type[ModelLoadError], str]] = [
        (answer(errors.GatedRepoError, 403), ModelNotFoundError, "terms"),
        (answer(errors.RepositoryNotFoundError, 404), ModelNotFoundError, "no such model"),
        (answer(errors.RevisionNotFoundError, 404), ModelNotFoundError, "no revision 'v9'"),
        (answer(errors.HfHubHTTPError, 500), ModelLoadError, "HfHubHTTPError"),
        (httpx.ConnectError("refused"), ModelLoadError, "ConnectError"),
        (PermissionError("disk"), ModelLoadError, "PermissionError"),
    ]
    for raised, kind, sentence in cases:

        def fail(*args: Any, raised: Exception = raised, **options: Any) -> str:
            raise raised

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(kind) as caught:
            find_file(hub(cache, revision="v9"), "config.json")
        assert sentence in str(caught.value)
        assert caught.value.__cause__ is raised


def test_fingerprint_follows_the_weights(checkpoints: Checkpoints, tmp_path: Path) -> None:
    source = checkpoints("sentence-encoder", dense_width=8)
    folder = Path(shutil.copytree(source, tmp_path / "one"))
    spec = LoadSpec("encoder", str(folder))
    first = checkpoint_fingerprint(spec)
    assert first == checkpoint_fingerprint(LoadSpec("encoder", str(source)))
    # A part in a folder below counts too; the time of a file alone does not.
    part = folder / "2_Dense" / "model.safetensors"
    os.utime(part, ns=(1, 1))
    assert checkpoint_fingerprint(spec) == first
    changed = bytearray(part.read_bytes())
    changed[-1] ^= 1
    part.write_bytes(changed)
    assert checkpoint_fingerprint(spec) != first
    with pytest.raises(ModelNotFoundError):
        checkpoint_fingerprint(LoadSpec("encoder", str(tmp_path / "nowhere")))


def test_json_of_a_folder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("sentence-encoder"), tmp_path / "one"))
    spec = LoadSpec("encoder", str(folder))
    assert [part["path"] for part in read_json_value(spec, "modules.json")][:2] == ["", "1_Pooling"]
    pooling = read_json(spec, "1_Pooling/config.json")
    assert pooling is not None
    assert pooling["pooling_mode_mean_tokens"] is True
    assert read_json(spec, "nothing.json") is None
    with pytest.raises(ModelLoadError, match=r"modules\.json holds a JSON list"):
        read_json(spec, "modules.json")
    (folder / "modules.json").write_text("{")
    with pytest.raises(ModelLoadError, match="not JSON"):
        read_json_value(spec, "modules.json")


def test_weights_in_several_files(checkpoints: Checkpoints, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    whole = load_model(LoadSpec("encoder", str(checkpoints("xlm-roberta"))))
    folder = Path(shutil.copytree(checkpoints("xlm-roberta"), tmp_path / "parts"))
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(checkpoints("xlm-roberta"), add_pooling_layer=False).save_pretrained(
        folder, max_shard_size="100KB"
    )
    spec = LoadSpec("encoder", str(folder))
    assert find_weights(spec).name == "model.safetensors.index.json"
    assert len(set(json.loads(find_weights(spec).read_text())["weight_map"].values())) > 1
    parts = load_model(spec)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, parts.model.state_dict()[name])


def test_folder_without_weights_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"model\.safetensors"):
        find_weights(LoadSpec("encoder", str(tmp_path)))


# A process of its own, since offline mode is decided when huggingface_hub is imported. The hub is
# a function here: huggingface_hub and transformers do all they do, without a socket.
ONLINE = """
import hashlib, json, sys
from pathlib import Path
import huggingface_hub
from huggingface_hub import errors
import importlib
httpx = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])

remote, cache, commit = Path(sys.argv[1]), sys.argv[2], "c" * 40
asked = []

def answer(request):
    asked.append((request.method, request.url.path, request.headers.get("authorization")))
    parts = request.url.path.strip("/").split("/")
    if parts[:4] == ["api", "models", "owner", "name"]:
        if parts[4:5] == ["tree"]:
            return httpx.Response(404, headers={"X-Error-Code": "EntryNotFound"})
        return httpx.Response(200, json={"id": "owner/name", "sha": commit, "tags": []})
    if parts[:2] != ["owner", "name"] or parts[2] != "resolve":
        return httpx.Response(404, headers={"X-Error-Code": "RepoNotFound"})
    if parts[3] not in ("main", commit):
        return httpx.Response(404, headers={"X-Error-Code": "RevisionNotFound"})
    path = remote.joinpath(*parts[4:])
    headers = {"X-Repo-Commit": commit}
    if not path.is_file():
        return httpx.Response(404, headers=headers | {"X-Error-Code": "EntryNotFound"})
    content = path.read_bytes()
    headers |= {"ETag": '"' + hashlib.sha1(content).hexdigest() + '"'}
    headers |= {"Content-Length": str(len(content))}
    return httpx.Response(
        200, headers=headers, content=b"" if request.method == "HEAD" else content
    )

huggingface_hub.set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(answer)))
from langchain_xlm.errors import ModelLoadError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.loading import load_model

def load(**options):
    asked.clear()
    try:
        spec = LoadSpec("encoder", cache_dir=cache, token="hf_secret", **options)
        return load_model(spec).revision
    except ModelLoadError as error:
        return type(error).__name__ + ": " + str(error)

report = {}
for name, options in {
    "first": {"model": "owner/name"},
    "again": {"model": "owner/name", "revision": commit},
    "offline": {"model": "owner/name", "local_files_only": True},
    "no revision": {"model": "owner/name", "revision": "v9"},
    "no model": {"model": "owner/other"},
}.items():
    report[name] = [load(**options), list(asked)]
(remote / "model.safetensors").rename(remote / "pytorch_model.bin")
commit = "d" * 40
report["pickle"] = [load(model="owner/name"), list(asked)]
print(json.dumps(report))
"""


def test_download_from_a_hub(checkpoints: Checkpoints, tmp_path: Path) -> None:
    remote = Path(shutil.copytree(checkpoints("xlm-roberta"), tmp_path / "remote"))
    ran = subprocess.run(
        [sys.executable, "-c", ONLINE, str(remote), str(tmp_path / "cache")],
        env=os.environ | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    revision, asked = report["first"]
    assert revision == "c" * 40
    # One look at the branch; all that follows is of the commit found there.
    branch = {path for _, path, _ in asked if "/main" in path}
    assert branch == {"/owner/name/resolve/main/config.json"}
    # (transformers also lists the names of the files, without it, and goes on where it may not.)
    files_asked = [token for _, path, token in asked if "/resolve/" in path]
    assert set(files_asked) == {"Bearer hf_secret"}
    assert not [path for _, path, _ in asked if path.endswith((".bin", ".h5", ".msgpack", ".py"))]
    revision, asked = report["again"]
    assert revision == "c" * 40
    assert not [path for _, path, _ in asked if "/resolve/" in path]  # a commit never changes
    assert report["offline"] == ["c" * 40, []]
    assert "no revision 'v9'" in report["no revision"][0]
    assert "no such model" in report["no model"][0]
    problem, asked = report["pickle"]
    assert problem.startswith("ModelLoadError")
    assert "pytorch_model.bin" in problem
    assert "refs/pr/N" in problem
    assert not [path for method, path, _ in asked if method == "GET" and path.endswith(".bin")]

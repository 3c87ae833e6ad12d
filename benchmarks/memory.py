"""The memory plan against what is then measured, for every family and every setting.

    python -m benchmarks.memory [FAMILY ...] [--setting NAME] [--plan-only] [--json FILE]

Each case loads a checkpoint of random weights in a process of its own and runs it. Widths and
layers are those of real models, with fewer layers and pieces of vocabulary, so that each takes 150
to 400 MB. On a machine with a CUDA device the bytes that torch has allocated there are measured,
else the resident memory of the process.

The figures go into a JSON file, in which those of other cases stay; the table in
`docs/hardware.md` is written from it. `--plan-only` keeps what was measured and plans anew.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.memory_page import FIGURES, PAGE, line_of, merge, write_page

BATCH, LENGTH, NEW_TOKENS, BEAMS = 8, 64, 24, 4
SETTINGS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
_ROBERTA = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_PAIR = {
    "d_model": 1024,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "vocab_size": 20_000,
}
SHAPES: dict[str, dict[str, Any]] = {
    "xlm": {"emb_dim": 1024, "n_layers": 3, "n_heads": 8, "vocab_size": 30_000},
    "xlm-roberta": {**_ROBERTA, "num_hidden_layers": 6, "vocab_size": 40_000},
    "xlm-roberta-xl": {
        "hidden_size": 2560,
        "num_attention_heads": 32,
        "intermediate_size": 10_240,
        "num_hidden_layers": 1,
        "vocab_size": 5_000,
    },
    "xmod": {**_ROBERTA, "num_hidden_layers": 4, "vocab_size": 40_000},
    "bert": {
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "vocab_size": 100_000,
    },
    "encoder-decoder": {**_ROBERTA, "num_hidden_layers": 2, "vocab_size": 20_000},
    "m2m100": _PAIR,
    "nllb": {**_PAIR, "encoder_layers": 1, "decoder_layers": 3},
    "mbart50": _PAIR,
    "mt5": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_heads": 6, "vocab_size": 60_000},
    "marian": {
        **_PAIR,
        "d_model": 512,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "vocab_size": 58_101,
    },
}
# As the published configs have it. The tests' is larger; with it nearly every column of a layer's
# input would pass the 6.0 from which bitsandbytes keeps a column out of its 8 bits, where trained
# models have one column in three hundred (counted on the starter).
_SPREAD = dict.fromkeys(("initializer_range", "init_std"), 0.02) | {"embed_init_std": 2048**-0.5}
ENCODERS = ("xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "bert")
_MADV_RANDOM, _MADV_PAGEOUT = 1, 21


def make_checkpoint(kind: str, folder: Path) -> tuple[Path, Path]:
    """Write a tiny checkpoint of a family, and a large one with its tokenizer.

    Args:
        kind: A kind of `tests/tiny.py`.
        folder: Where they go.

    Returns:
        The folders of the tiny and the large one.
    """
    import shutil

    import torch
    import transformers

    from tests.tiny import tiny_checkpoint

    tiny = tiny_checkpoint(kind, folder / "tiny")
    large = Path(shutil.copytree(tiny, folder / "large"))
    config = transformers.AutoConfig.from_pretrained(tiny)
    for part in (config.encoder, config.decoder) if kind == "encoder-decoder" else (config,):
        spread = {name: value for name, value in _SPREAD.items() if hasattr(part, name)}
        for name, value in (SHAPES[kind] | spread).items():
            setattr(part, name, value)
    for name in ("pad_token_id", "decoder_start_token_id", "forced_eos_token_id"):
        if (getattr(config, name, None) or 0) >= SHAPES[kind]["vocab_size"]:
            setattr(config, name, 0)
    torch.manual_seed(0)
    model = getattr(transformers, config.architectures[0])(config)
    model.save_pretrained(large)
    return tiny, large


def measure(kind: str, setting: str, tiny: str, large: str) -> dict[str, int]:
    """Load and run one checkpoint in this process.

    Args:
        kind: Its kind.
        setting: A key of `SETTINGS`.
        tiny: A small one like it, to have all code in memory before anything is measured.
        large: The checkpoint.

    Returns:
        Bytes of the loaded weights, at the highest point of loading, and of running.
    """
    import torch

    from langchain_xlm.models.config import LoadSpec
    from langchain_xlm.models.loading import load_model
    from langchain_xlm.models.memory import freed_at_once
    from langchain_xlm.models.onednn import use_onednn

    torch.set_num_threads(1)
    task = "encoder" if kind in ENCODERS else "seq2seq"
    options = SETTINGS[setting]
    run(load_model(LoadSpec(task, tiny, **options)).model, task)
    gc.collect()
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model = load_model(LoadSpec(task, large, **options)).model
        weights, loading = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run(model, task)
        running = torch.cuda.max_memory_allocated()
        return {
            "weights": weights - before,
            "loading": loading - before,
            "running": running - before,
        }
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)
    before = _resident("RssAnon")
    with _Highest() as highest:
        loaded = load_model(LoadSpec(task, large, **options))
        use_onednn(loaded)
    model = loaded.model
    gc.collect()
    libc.malloc_trim(0)
    mapped = _touch(model, large, libc)
    weights = _resident("RssAnon") - before + mapped
    # Else what was freed and lies in the heap is counted as well.
    with freed_at_once(), _Highest() as running:
        run(model, task)
    return {
        "weights": weights,
        "loading": highest.bytes - before + mapped,
        "running": running.bytes - before + mapped,
    }


def run(model: Any, task: str) -> None:
    """Give a model texts of random pieces.

    Args:
        model: The model.
        task: What it is for.
    """
    import torch

    rows = min(model.get_input_embeddings().num_embeddings, 20_000)
    # Neither padding nor end of text.
    ids = torch.randint(10, min(rows, 50), (BATCH, LENGTH)).to(model.device)
    with torch.inference_mode():
        if task == "encoder":
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        else:
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                num_beams=BEAMS,
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
            )


class _Highest:
    """The most anonymous memory of this process inside a `with` block, looked at every 2 ms."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Highest:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.bytes = max(self.bytes, _resident("RssAnon"))
            time.sleep(0.002)


def _resident(kind: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    raise OSError(f"this system does not tell {kind}")


def _touch(model: Any, folder: str, libc: Any) -> int:
    """Bring every weight that lies in a file into memory, and nothing else of the file.

    Args:
        model: The model.
        folder: Its checkpoint.
        libc: The C library.

    Returns:
        Bytes of the file that are then resident.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        if folder in line:
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            # Else the system reads 128 KiB around each bias.
            for advice in (_MADV_PAGEOUT, _MADV_RANDOM):
                libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
    for each in (*model.parameters(), *model.buffers()):
        if each.is_mkldnn:  # packed, so in memory and no more in the file
            continue
        each.view(-1)[:: max(1, 1024 // each.element_size())].sum()
    inside, size = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            inside = folder in line
        elif inside and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size


def measured(kind: str, setting: str, tiny: Path, large: Path) -> dict[str, int]:
    """Measure one case in a new process.

    Args:
        kind: The kind of checkpoint.
        setting: How it is loaded.
        tiny: A small one like it.
        large: The checkpoint.

    Returns:
        What `measure` gives.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--case", kind, setting, str(tiny), str(large)],
        capture_output=True,
        text=True,
        check=False,
        # So that what is freed goes back to the system at once and is not counted.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{kind}, {setting}: {done.stderr}")
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(
    kinds: list[str], settings: list[str], kept: list[dict[str, Any]] | None
) -> Iterator[dict[str, Any]]:
    """Plan and measure cases.

    Args:
        kinds: The families.
        settings: The ways of loading.
        kept: Rows whose measured figures are taken instead of measuring; None measures.

    Yields:
        A row for each case.
    """
    from langchain_xlm import plan_memory

    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            tiny, large = make_checkpoint(kind, Path(folder))
            plan = plan_memory(
                large, batch=BATCH, length=LENGTH, new_tokens=NEW_TOKENS, beams=BEAMS
            )
            for each in plan.settings:
                case = {"family": kind, "setting": each.setting}
                old = next((row for row in kept or () if row | case == row), None)
                if each.setting not in settings or (kept is not None and old is None):
                    continue
                planned = {
                    "weights": each.weights.total,
                    "loading": each.loading_bytes,
                    "running": each.running_bytes,
                }
                found = old["measured"] if old else measured(kind, each.setting, tiny, large)
                yield {**case, "planned": planned, "measured": found}


def machine_of() -> dict[str, Any]:
    """Name where and with what something is measured.

    Returns:
        Processor, what it computes, GPU, and versions.
    """
    import bitsandbytes
    import torch
    import transformers

    from langchain_xlm.models.processor import computes_bfloat16, integer_product

    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    fields = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    return {
        "processor": fields.get("model name", platform.processor() or platform.machine()),
        "family": " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model") if fields),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_units": computes_bfloat16(),
        "int8_units": integer_product() == "exact",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "bitsandbytes": bitsandbytes.__version__,
    }


def main() -> None:
    """Compare plan and measurement, and write both into the site."""
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", choices=[*SHAPES, []])
    parser.add_argument("--setting", action="append", choices=SETTINGS)
    parser.add_argument("--plan-only", action="store_true")
    parser.add_argument("--json", type=Path, default=FIGURES)
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(*given.case)))
        return
    machine = machine_of() | {
        "load": {"batch": BATCH, "length": LENGTH, "new_tokens": NEW_TOKENS, "beams": BEAMS}
    }
    old = json.loads(given.json.read_text("utf-8"))["cases"] if given.json.exists() else []
    kinds, settings = given.families or list(SHAPES), given.setting or list(SETTINGS)
    for row in compare(kinds, settings, old if given.plan_only else None):
        print(line_of(row), flush=True)
        merge(
            given.json, machine, row, order=[(kind, name) for kind in SHAPES for name in SETTINGS]
        )
    if given.json == FIGURES:
        write_page(FIGURES, PAGE)


if __name__ == "__main__":
    main()

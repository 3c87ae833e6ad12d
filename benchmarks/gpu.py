"""Real sizes on a GPU: memory against the plan, throughput and latency, for every setting.

    python -m benchmarks.gpu [NAME ...] [--setting S] [--device cuda:0] [--page benchmarks/gpu.md]

Checkpoints of random weights in the true architectures are made, one after the other (up to 7 GB
on the disk). Random weights take as long as trained ones; what they write means nothing. The table
goes into the page. `--device cpu` with the tiny names tries the code where there is no GPU, and
tells nothing of memory.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.real_sizes import SIZES, TINY, Size, make_checkpoint

SETTINGS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
BATCH, LENGTH, NEW_TOKENS, BEAMS, ROUNDS = 32, 128, 64, 4, 5
PAGE = Path(__file__).parent / "gpu.md"
BEGIN, END = "<!-- python -m benchmarks.gpu: begin -->\n", "<!-- end -->\n"
HEAD = (
    "| Model | Setting | Weights: plan, MiB | Held | Peak running: plan | Measured"
    " | Error | Tokens a second, 32 texts | One text, ms |"
)


def measure(
    folder: Path,
    size: Size,
    setting: str,
    device: str,
    *,
    batch: int = BATCH,
    new_tokens: int = NEW_TOKENS,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Load a checkpoint and run it.

    Args:
        folder: The checkpoint.
        size: Its architecture.
        setting: A key of `SETTINGS`.
        device: Where it runs.
        batch: Texts at once.
        new_tokens: Tokens to write for each text.
        rounds: How often each is timed.

    Returns:
        Bytes of the loaded weights and at the highest point of running (0 elsewhere than on
        CUDA), tokens read or written a second with `batch` texts, and seconds for one.
    """
    import torch

    from langchain_xlm.models.config import LoadSpec
    from langchain_xlm.models.loading import load_model

    is_cuda = device.startswith("cuda")
    before = torch.cuda.memory_allocated(device) if is_cuda else 0
    spec = LoadSpec(
        "seq2seq" if size.task == "seq2seq" else "encoder",
        str(folder),
        device=device,
        **SETTINGS[setting],
    )
    loaded = load_model(spec)
    held = torch.cuda.memory_allocated(device) - before if is_cuda else 0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)

    def run(texts: int) -> None:
        ids = torch.full((texts, LENGTH), 7, device=loaded.device)
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.inference_mode():
            if size.task != "seq2seq":
                loaded.model(**given)
            else:
                loaded.model.generate(
                    **given,
                    num_beams=BEAMS,
                    do_sample=False,
                    max_new_tokens=new_tokens,
                    min_new_tokens=new_tokens,
                )
        if is_cuda:
            torch.cuda.synchronize(device)

    many, one = timed(lambda: run(batch), rounds), timed(lambda: run(1), rounds)
    peak = torch.cuda.max_memory_allocated(device) - before if is_cuda else 0
    tokens = batch * (new_tokens if size.task == "seq2seq" else LENGTH)
    return {"held": held, "peak": peak, "tokens_a_second": tokens / many, "one_s": one}


def timed(work: Callable[[], None], rounds: int) -> float:
    """Time some work, after a first round that does not count.

    Args:
        work: What to do.
        rounds: How often.

    Returns:
        Seconds, the median.
    """
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def line_of(name: str, setting: str, planned: Any, found: dict[str, float]) -> str:
    """Write one row of the table.

    Args:
        name: The model.
        setting: How it was loaded.
        planned: The plan of that setting.
        found: What `measure` gave.

    Returns:
        A line of Markdown.
    """
    mib = 2**20
    if found["peak"]:
        error = f"{planned.running_bytes / found['peak'] - 1:+.1%}"
        memory = [f"{found['held'] / mib:,.0f}", f"{planned.running_bytes / mib:,.0f}"]
        memory += [f"{found['peak'] / mib:,.0f}", error]
    else:
        memory = ["not measured", f"{planned.running_bytes / mib:,.0f}", "not measured", ""]
    cells = [name, setting, f"{planned.weights.total / mib:,.0f}", *memory]
    cells += [f"{found['tokens_a_second']:,.0f}", f"{1000 * found['one_s']:.1f}"]
    return f"| {' | '.join(cells)} |"


def where(device: str) -> str:
    """Name the machine and the versions.

    Args:
        device: Where things ran.

    Returns:
        A sentence.
    """
    import bitsandbytes
    import torch
    import transformers

    place = platform.machine()
    if device.startswith("cuda"):
        place = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return (
        f"{place}; torch {torch.__version__}, transformers {transformers.__version__}, bitsandbytes"
        f" {bitsandbytes.__version__}; {BATCH} texts of {LENGTH} tokens, {NEW_TOKENS} written with"
        f" {BEAMS} beams; median of {ROUNDS} rounds."
    )


def write_page(page: Path, text: str) -> None:
    """Put a table into the page, between its marks.

    Args:
        page: The page.
        text: Markdown.
    """
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", "utf-8")


def main() -> None:
    """Measure, print the table, and write it into the page where one is named."""
    import torch

    from langchain_xlm import plan_memory

    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[*SIZES, *TINY, []])
    parser.add_argument("--setting", action="append", choices=SETTINGS)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    lines = [where(given.device), "", HEAD, "|---|---" + "|---:" * 7 + "|"]
    print("\n".join(lines), flush=True)
    for name in given.names or SIZES:
        size = (SIZES | TINY)[name]
        with tempfile.TemporaryDirectory() as work:
            make_checkpoint(size, Path(work), torch.bfloat16)
            plan = plan_memory(
                work, task=None, batch=BATCH, length=LENGTH, new_tokens=NEW_TOKENS, beams=BEAMS
            )
            for planned in plan.settings:
                if given.setting and planned.setting not in given.setting:
                    continue
                try:
                    found = measure(Path(work), size, planned.setting, given.device)
                    lines.append(line_of(name, planned.setting, planned, found))
                except torch.OutOfMemoryError:
                    lines.append(f"| {name} | {planned.setting} | does not fit |" + " |" * 6)
                print(lines[-1], flush=True)
                gc.collect()
                if given.device.startswith("cuda"):
                    torch.cuda.empty_cache()
    if given.page is not None:
        write_page(given.page, "\n".join(lines))


if __name__ == "__main__":
    main()

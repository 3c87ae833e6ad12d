"""What a system costs: measured in a process of its own, where nothing else is in memory."""

from __future__ import annotations

import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_xlm.errors import ModelRunError, XLMError
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import EvaluationTask, Input

if TYPE_CHECKING:
    import torch

__all__ = ["Budget", "measure_cost"]

# Texts of one request, tried from the least up while throughput still grows.
BATCHES: Final = (1, 8, 32, 128, 512)
# Growth of throughput below this is noise.
_GROWTH: Final = 1.05
_WARMUP: Final = 2


@dataclass(frozen=True)
class Budget:
    """How long costs may be measured.

    Attributes:
        latency_runs: How many texts are answered one by one.
        seconds: Limit for those, and for the batches, in seconds each.
    """

    latency_runs: int = 50
    seconds: float = 20.0


def measure_cost(
    task: EvaluationTask, system: System, inputs: Sequence[Input], budget: Budget
) -> dict[str, Any]:
    """Load a system in a new process and time it.

    Args:
        task: What it is asked to do.
        system: The system.
        inputs: Texts of the evaluation; some of them are used.
        budget: How long it may take.

    Returns:
        The fields of `report.Cost`.

    Raises:
        XLMError: What the system raised there.
        ModelRunError: The process ended without an answer, as when memory runs out.
    """
    order = pickle.dumps((task, system, list(inputs[: max(BATCHES)]), budget))
    run = subprocess.run(  # noqa: S603  # this package, by the interpreter that runs it
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=order,
        capture_output=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    answer = run.stdout.rpartition(b"\n")[2]
    if run.returncode != 0 or not answer:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ModelRunError(
            system.model,
            f"the process that measures its cost ended with code {run.returncode}"
            f" ({last[0] if last else 'without a word'}).",
        )
    found: dict[str, Any] = json.loads(answer)
    if "error" in found:
        error: XLMError = pickle.loads(bytes.fromhex(found["error"]))  # noqa: S301  # our child's
        raise error
    return found


def main() -> None:
    """Measure what standard input asks for, and write the figures to standard output."""
    task, system, inputs, budget = pickle.loads(sys.stdin.buffer.read())  # noqa: S301  # our parent's
    try:
        answer: dict[str, Any] = _measure(task, system, inputs, budget)
    except XLMError as error:
        answer = {"error": pickle.dumps(error).hex()}
    sys.stdout.write("\n" + json.dumps(answer))


def _measure(
    task: EvaluationTask, system: System, inputs: Sequence[Input], budget: Budget
) -> dict[str, Any]:
    begun = time.perf_counter()
    import torch
    import transformers  # noqa: F401

    from langchain_xlm.models.loading import load_model

    imported = time.perf_counter()
    before = _resident_bytes()
    loaded = load_model(task.spec(system))
    loaded_at = time.perf_counter()
    device = loaded.device
    weights = int(loaded.model.get_memory_footprint())
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    del loaded
    predictor = task.open(system)
    for each in islice(cycle(inputs), _WARMUP):
        predictor.predict([each])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    latencies = _latencies(predictor, inputs, budget)
    batch, throughput = _throughput(predictor, inputs, budget)
    return {
        "import_s": imported - begun,
        "load_s": loaded_at - imported,
        "weights_bytes": weights,
        "peak_bytes": _peak_bytes(device, before),
        "peak_of": "gpu" if device.type == "cuda" else "process",
        "latency_p50_s": statistics.median(latencies),
        "latency_p95_s": sorted(latencies)[max(0, -(-95 * len(latencies) // 100) - 1)],
        "latency_runs": len(latencies),
        "throughput_texts_per_s": throughput,
        "throughput_batch": batch,
        "device": _device_name(device),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
    }


def _latencies(predictor: Any, inputs: Sequence[Input], budget: Budget) -> list[float]:
    """Time texts one by one, in seconds."""
    found: list[float] = []
    deadline = time.perf_counter() + budget.seconds
    for each in islice(cycle(inputs), budget.latency_runs):
        begun = time.perf_counter()
        predictor.predict([each])
        found.append(time.perf_counter() - begun)
        if time.perf_counter() > deadline:
            break
    return found


def _throughput(predictor: Any, inputs: Sequence[Input], budget: Budget) -> tuple[int, float]:
    """Find the number of texts in a request at which most texts are answered in a second."""
    best = (0, 0.0)
    deadline = time.perf_counter() + budget.seconds
    for batch in BATCHES:
        texts = list(islice(cycle(inputs), batch))
        done, begun = 0, time.perf_counter()
        # Short requests are repeated, for one alone would say little.
        while done == 0 or (time.perf_counter() - begun < budget.seconds / 20):
            predictor.predict(texts)
            done += batch
        rate = done / (time.perf_counter() - begun)
        if rate < best[1] * _GROWTH:
            return best if rate < best[1] else (batch, rate)
        best = (batch, rate)
        if time.perf_counter() > deadline or batch >= len(inputs):
            break
    return best


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _peak_bytes(device: torch.device, before: int) -> int:
    """The most that was in use: on the GPU, or by the process beyond its libraries."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset) - before
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024) - before


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return str(device)
    return f"cpu ({cpu_name()}, {os.cpu_count()} cores)"


def cpu_name() -> str:
    """Return what this machine's processor is called."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

"""Speed side by side with what users would pick instead: `python -m benchmarks.speed NAME ...`.

NAME is `encoder` (see `benchmarks/speed_encoder.py`) or that of another module `speed_NAME` here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    found = sorted(
        path.stem.removeprefix("speed_") for path in Path(__file__).parent.glob("speed_*")
    )
    names = [
        name
        for name in found
        if hasattr(importlib.import_module(f"benchmarks.speed_{name}"), "main")
    ]
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        raise SystemExit(f"usage: python -m benchmarks.speed {{{','.join(names)}}} [--help]")
    importlib.import_module(f"benchmarks.speed_{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()

"""How long a pass takes, beside the official SDK that only lists the same models.

Run: python tests/benchmarks/passes.py [MODELS]

Each round runs all of them in turn, so that a noisy machine is noisy to each; printed are medians
and the ratio to the SDK's listing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from anthropic import Anthropic
from pydantic import SecretStr

from catalog_sync.app import App
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.demo.history import moments
from catalog_sync.demo.sandbox import Sandbox

ROUNDS = 5


def catalog(count: int) -> list[dict]:
    """Objects as large as real ones."""
    sample = moments()[-1].models[0]
    return [sample | {"id": f"model-{n:06}", "display_name": f"Model {n}"} for n in range(count)]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(count: int) -> None:
    os.environ["BENCHMARK_KEY"] = "sandbox-key"
    times: dict[str, list[float]] = {}
    with Sandbox(catalog(count)) as sandbox, tempfile.TemporaryDirectory() as directory:
        sdk = Anthropic(base_url=sandbox.url, api_key=sandbox.api_key)
        source = SourceSettings(name="a", base_url=sandbox.url, api_key_env="BENCHMARK_KEY")
        for number in range(ROUNDS):
            url = SecretStr(f"sqlite:///{Path(directory, f'{number}.db')}")
            with App(Settings(database_url=url, sources=(source,))) as app:
                sandbox.models = catalog(count)
                steps = {
                    "SDK: list": lambda: list(sdk.models.list(limit=1000)),
                    "pass: baseline": app.sync,
                    "pass: no change": app.sync,
                }
                for name, work in steps.items():
                    times.setdefault(name, []).append(seconds(work))
                changed = [dict(m, display_name="x") for m in catalog(count)]
                sandbox.models = changed
                times.setdefault("pass: all change", []).append(seconds(app.sync))
    beside = statistics.median(times["SDK: list"])
    print(f"{count} models, median of {ROUNDS} rounds")
    for name, measured in times.items():
        middle = statistics.median(measured)
        print(f"  {name:<18} {middle * 1000:8.1f} ms   {middle / beside:5.2f} x the SDK's listing")

    starts = {"python -c pass": ["-c", "pass"], "--help": ["-m", "catalog_sync", "--help"]}
    print(f"process start, median of {ROUNDS}")
    bare = 0.0
    for name, words in starts.items():
        command = [sys.executable, *words]
        runs = [seconds(lambda c=command: subprocess.check_output(c)) for _ in range(ROUNDS)]
        middle = statistics.median(runs)
        bare = bare or middle
        print(f"  {name:<18} {middle * 1000:8.1f} ms   {middle / bare:5.2f} x a bare interpreter")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

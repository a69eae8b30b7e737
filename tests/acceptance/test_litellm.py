"""LiteLLM's proxy, a gateway that people use, as a source.

Runs if CATALOG_SYNC_TEST_LITELLM names its program (`pip install 'litellm[proxy]'`, in a separate
environment, because it pins older libraries).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import run

LITELLM = os.environ.get("CATALOG_SYNC_TEST_LITELLM", "")
KEY = "sk-1234567"

pytestmark = pytest.mark.skipif(
    not shutil.which(LITELLM), reason="CATALOG_SYNC_TEST_LITELLM names no program"
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def proxy(models: Sequence[str], port: int) -> Iterator[str]:
    """LiteLLM on a loopback port, listing `models`; ready when it is entered."""
    listed = [{"model_name": m, "litellm_params": {"model": f"anthropic/{m}"}} for m in models]
    config = {"model_list": listed, "general_settings": {"master_key": KEY}}
    with open("litellm.yaml", "w", encoding="utf-8") as file:  # noqa: PTH123  # JSON is YAML
        json.dump(config, file)
    command = [LITELLM, "--config", "litellm.yaml", "--port", str(port), "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            ends_at = time.monotonic() + 120
            while not answers(f"{url}/health/liveliness"):
                assert process.poll() is None, "LiteLLM ended"
                assert time.monotonic() < ends_at, "LiteLLM does not answer"
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        time.sleep(0.1)  # waits for a condition, not for a time
        return False


def test_a_litellm_proxy_is_a_source() -> None:
    """The models are recorded, a wrong key is a failed run, and dropped models are removed."""
    port = free_port()
    with proxy(["claude-opus-4-6", "claude-sonnet-5"], port) as url:
        first = run("sync", "--json", ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY=KEY)
        assert first.returncode == 0, first.stderr
        report = json.loads(first.stdout)["runs"][0]
        assert report["baseline"] is True
        assert sorted(report["added"]) == ["claude-opus-4-6", "claude-sonnet-5"]

        wrong = run("sync", ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN="sk-wrong-77777")
        assert wrong.returncode == 1
        assert "No connected db." in wrong.stderr
        assert "ANTHROPIC_AUTH_TOKEN" in wrong.stderr
        assert "77777" not in wrong.stderr

    with proxy(["claude-opus-4-6", "claude-opus-5"], port) as url:
        second = run("sync", "--json", ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN=KEY)
        assert second.returncode == 0, second.stderr
        report = json.loads(second.stdout)["runs"][0]
        assert (report["added"], report["removed"]) == (["claude-opus-5"], ["claude-sonnet-5"])


def test_a_litellm_proxy_in_openais_shape() -> None:
    """The same proxy is a source with `api = "openai"`: recorded, confirmed by id, removed."""
    port = free_port()
    config = f"""
[[sources]]
name = "litellm"
api = "openai"
base_url = "http://127.0.0.1:{port}/v1"
"""
    Path("catalog-sync.toml").write_text(config, encoding="utf-8")
    with proxy(["gpt-5", "vendor/claude-sonnet-5"], port):
        first = run("sync", "--json", OPENAI_API_KEY=KEY)
        assert first.returncode == 0, first.stderr
        report = json.loads(first.stdout)["runs"][0]
        assert sorted(report["added"]) == ["gpt-5", "vendor/claude-sonnet-5"]

        again = run("sync", "--json", OPENAI_API_KEY=KEY)
        report = json.loads(again.stdout)["runs"][0]
        assert (report["updated"], report["schema_changed"]) == ([], [])

    with proxy(["gpt-5", "vendor/claude-opus-5"], port):
        reports = [json.loads(run("sync", "--json", OPENAI_API_KEY=KEY).stdout) for _ in range(3)]
        added = [report["runs"][0]["added"] for report in reports]
        removed = [id_ for report in reports for id_ in report["runs"][0]["removed"]]
        assert added == [["vendor/claude-opus-5"], [], []]
        assert removed == ["vendor/claude-sonnet-5"]

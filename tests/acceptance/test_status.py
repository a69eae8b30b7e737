"""`catalog-sync status`: the exit code for health checks, the lines for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog_sync.demo.sandbox import Sandbox
from support import model, run

MODELS = [model(f"claude-{number}") for number in range(6)]


def test_from_nothing_to_held() -> None:
    """Exit 1 before the first sync, 0 after it, 1 when stale or held; it creates no file."""
    before = run("status")
    assert (before.returncode, before.stderr) == (
        1,
        "catalog-sync: source anthropic was never synced; run: catalog-sync sync\n",
    )
    configuration, database, _, state, alerts = before.stdout.splitlines()
    assert configuration == "configuration: none"
    assert database.startswith("database: ")
    assert database.endswith("catalog.db")
    assert state.split() == ["anthropic", "never", "synced", "-", "-", "-"]
    assert alerts == "alerts: 0 pending, 0 failed"
    assert list(Path().iterdir()) == []

    with Sandbox(MODELS) as sandbox:
        key = {"ANTHROPIC_API_KEY": sandbox.api_key, "ANTHROPIC_BASE_URL": sandbox.url}
        assert run("sync", **key).returncode == 0
        well = run("status", "--json")
        assert (well.returncode, well.stderr) == (0, "")
        shown = json.loads(well.stdout)
        (source,) = shown.pop("sources")
        assert source.pop("last_success_at") is not None
        assert source.pop("last_attempt_at") is not None
        assert source == {
            "name": "anthropic",
            "configured": True,
            "fresh": True,
            "held": False,
            "held_reason": None,
            "held_models": [],
            "last_error": None,
        }
        assert shown.pop("database").endswith("catalog.db")
        assert shown == {"ok": True, "config": None, "deliveries": {"pending": 0, "failed": 0}}
        stale = run("status", "--max-age", "1ms")
        assert stale.returncode == 1
        assert "source anthropic: last success" in stale.stderr
        assert "anthropic  stale" in stale.stdout
        assert run("status", CATALOG_SYNC_MAX_AGE="1ms").returncode == 1

        sandbox.models = MODELS[:1]
        assert run("sync", **key).returncode == 3
    held = run("status")
    assert held.returncode == 1
    assert held.stderr.startswith("catalog-sync: a run is held: source anthropic: ")
    assert held.stderr.count("\n") == 1
    assert "claude-1, claude-2, claude-3, claude-4, claude-5" in held.stderr
    (source,) = json.loads(run("status", "--json").stdout)["sources"]
    assert source["held_models"] == [f"claude-{number}" for number in range(1, 6)]
    assert "5 of 6 models" in source["held_reason"]
    assert "anthropic  held" in held.stdout


@pytest.mark.parametrize("age", ["soon", "-1h", "1"])
def test_a_bad_age_is_refused(age: str) -> None:
    """An invalid age is an error of usage."""
    assert run("status", f"--max-age={age}").returncode == 2

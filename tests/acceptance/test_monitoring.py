"""The files for Prometheus and Grafana: the metrics file, the alert rules, the dashboard."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.queries.health import SourceHealth
from catalog_sync.queries.metrics import Snapshot, SourceSnapshot, exposition, registry
from docs import page
from support import KEY, run

CHECKOUT = Path(__file__).parents[2]
PROMETHEUS = CHECKOUT / "config" / "prometheus"
DASHBOARD = json.loads((CHECKOUT / "config" / "grafana" / "catalog-sync.json").read_text("utf-8"))

NOW = datetime(2026, 7, 24, 18, 12, 21, tzinfo=UTC)
FULL = Snapshot(
    (
        SourceSnapshot(
            SourceHealth(
                "anthropic",
                last_success_at=NOW,
                max_age=NOW - NOW,
                last_attempt_at=NOW,
                last_duration=NOW - NOW,
                clock_offset_seconds=1,
            ),
            next_retirement_at=NOW,
        ),
    ),
    oldest_pending_at=NOW,
)
OURS = re.compile(r"\bcatalog_sync_\w+")


def exposed() -> dict[str, tuple[str, ...]]:
    """Return every metric and its labels."""
    families = text_string_to_metric_families(exposition(FULL).decode())
    return {sample.name: tuple(sample.labels) for family in families for sample in family.samples}


def check(promtool: str, *arguments: str, **options: Any) -> str:
    """Run promtool, which must succeed, and return its output."""
    command = [promtool, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- the metrics file --------------------------------------------------------------------------


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(steps()[-1].models, api_key=KEY) as sandbox:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", sandbox.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield sandbox


def shown(file: str = "out.prom") -> dict[str, float]:
    """Return each line of a metrics file: the metric with its labels, and its value."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def runs(status: str) -> str:
    return f'catalog_sync_runs_total{{source="anthropic",status="{status}"}}'


def test_sync_writes_the_metrics(api: Sandbox) -> None:
    """After a run, good or failed, the file is up to date, readable, and has only our metrics."""
    done = run("sync", "--metrics-file", "out.prom")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown()[runs("succeeded")] == 1
    assert shown()['catalog_sync_models{source="anthropic",state="listed"}'] == len(api.models)
    assert stat.S_IMODE(Path("out.prom").stat().st_mode) == 0o644
    assert "process_" not in Path("out.prom").read_text(encoding="utf-8")

    done = run("sync", "--metrics-file", "out.prom", ANTHROPIC_API_KEY="wrong")
    assert done.returncode == 1
    assert (shown()[runs("succeeded")], shown()[runs("failed")]) == (1, 1)

    before = shown()
    done = run("sync", "--dry-run", "--metrics-file", "out.prom")
    assert done.returncode == 0
    assert shown() == before
    assert sorted(path.name for path in Path().iterdir()) == ["catalog.db", "out.prom"]


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2-c0ffee@127.0.0.1:1/x", "sqlite:///missing/catalog.db"]
)
def test_a_database_that_is_down_reaches_the_file(api: Sandbox, url: str) -> None:
    """The file says that the database is down, without a secret of its URL; the exit code is 4."""
    Path("out.prom").write_text("old", encoding="utf-8")
    done = run("sync", "--metrics-file", "out.prom", CATALOG_SYNC_DATABASE_URL=url)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert shown()["catalog_sync_database_up"] == 0
    assert "hunter2" not in Path("out.prom").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_reported(api: Sandbox) -> None:
    """The run is still made and printed; one line names the file; the exit code is 1."""
    done = run("sync", "--json", "--metrics-file", "missing/out.prom")
    assert done.returncode == 1
    assert json.loads(done.stdout)["runs"][0]["status"] == "succeeded"
    assert done.stderr == (
        "catalog-sync: metrics file missing/out.prom cannot be written: No such file or directory; "
        "check that its directory exists and may be written\n"
    )


def test_two_catalogs_of_one_host(api: Sandbox) -> None:
    """Files named catalog-sync-NAME.prom share no series, which node_exporter would refuse.

    Files that do are reported.
    """
    series = []
    for name in ("team-a", "team-b"):
        file = f"catalog-sync-{name}.prom"
        database = f"sqlite:///{name}.db"
        done = run("sync", "--metrics-file", file, CATALOG_SYNC_DATABASE_URL=database)
        assert (done.returncode, done.stderr) == (0, "")
        series.append(shown(file))
        assert series[-1][f'catalog_sync_held{{catalog="{name}",source="anthropic"}}'] == 0
    assert not series[0].keys() & series[1].keys()
    for file, warnings in (("one.prom", 0), ("other.prom", 1)):
        done = run("sync", "--metrics-file", file)
        assert done.returncode == 0
        assert done.stderr.count("WARNING two metrics files have the same series") == warnings
    assert "file=other.prom other=one.prom" in done.stderr


@pytest.mark.parametrize("path", [".", "metrics.txt", "/dev/stdout", ""])
def test_a_file_that_node_exporter_ignores_is_refused(path: str) -> None:
    """A name that node_exporter would ignore is wrong usage, refused before any other step."""
    done = run("sync", "--metrics-file", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ends in .prom" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- Prometheus's checks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "snapshot",
    [
        FULL,
        Snapshot(),
        Snapshot(database_up=False),
        Snapshot(
            tuple(
                SourceSnapshot(SourceHealth(name))
                for name in ('a"} 1\nb 2', "\\", "a\rb", "☃\u2028")
            )
        ),
    ],
    ids=["full", "nothing", "database down", "hostile names"],
)
@pytest.mark.parametrize("process", [False, True])
def test_promtool_has_no_complaint(promtool: str, snapshot: Snapshot, process: bool) -> None:
    """`promtool check metrics` parses the metrics without a complaint."""
    text = generate_latest(registry(lambda: snapshot, process=process)).decode()
    assert check(promtool, "check", "metrics", input=text) == ""


def test_the_rules_hold(promtool: str, tmp_path: Path) -> None:
    """The rules and the examples are valid, and the tests that come with the rules pass."""
    check(promtool, "check", "rules", "catalog-sync.rules.yml", cwd=PROMETHEUS)
    check(promtool, "check", "config", "prometheus.yml", cwd=PROMETHEUS)
    check(promtool, "test", "rules", "catalog-sync.tests.yml", cwd=PROMETHEUS)
    [recipe] = page("how-to/monitoring.md").blocks("yaml")
    (tmp_path / "page.yml").write_text(recipe, encoding="utf-8")
    check(promtool, "check", "config", "page.yml", cwd=tmp_path)


def test_every_rule_is_tested() -> None:
    """Each alert rule has a test in which it fires and one in which it does not."""
    rules = (PROMETHEUS / "catalog-sync.rules.yml").read_text(encoding="utf-8")
    tests = (PROMETHEUS / "catalog-sync.tests.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)\n", rules)
    assert len(alerts) == len(set(alerts)) == 10
    for alert in alerts:
        cases = re.findall(rf"alertname: {alert}\n +eval_time: .*\n +exp_alerts:(.*)\n", tests)
        assert sorted({case.strip() for case in cases}) == ["", "[]"], alert


# --- documents and dashboards -------------------------------------------------------------------


def test_the_page_names_every_metric() -> None:
    """The page of metrics has every metric with its labels, and no other."""
    text = page("reference/metrics.md").text
    rows = re.findall(r"^\| `(catalog_sync_\w+)(?:\{([\w,]+)\})?` \|", text, re.MULTILINE)
    documented = {name: set(labels.split(",")) - {""} for name, labels in rows}
    assert documented == {name: set(labels) for name, labels in exposed().items()}


def test_the_rules_name_real_metrics() -> None:
    """No rule uses a metric that does not exist."""
    text = (PROMETHEUS / "catalog-sync.rules.yml").read_text(encoding="utf-8")
    assert set(OURS.findall(text)) <= exposed().keys()


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each query of the dashboard, and its purpose, as Prometheus would get it."""
    queries = [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    queries += [(each["name"], each["expr"]) for each in DASHBOARD["annotations"]["list"]]
    for title, query in queries:
        yield title, re.sub(r"\$(job|source)\b", ".*", query)


def test_the_dashboards_queries_are_valid(promtool: str, tmp_path: Path) -> None:
    """Prometheus understands every query of the dashboard."""
    rules = [{"record": f"panel:{i}", "expr": query} for i, (_, query) in enumerate(expressions())]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}  # JSON is YAML
    (tmp_path / "dashboard.yml").write_text(json.dumps(groups), encoding="utf-8")
    check(promtool, "check", "rules", "dashboard.yml", cwd=tmp_path)


def test_the_dashboard_shows_every_metric() -> None:
    """The queries use every metric, with existing labels."""
    labels = {name: {*words, "job"} for name, words in exposed().items()}
    shown: set[str] = set()
    for title, query in expressions():
        for name, matchers in re.findall(r"(catalog_sync_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[name], title
            shown.add(name)
        assert "$" not in query
    assert shown == labels.keys() - {"catalog_sync_build_info"}


def test_the_dashboard_can_be_imported() -> None:
    """Ids are unique, panels do not overlap, and every data source is the chosen one."""
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36  # Grafana 9 and newer
    assert DASHBOARD["id"] is None
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [cell for panel in DASHBOARD["panels"] for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(found == chosen for found in data_sources(DASHBOARD))
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "source"]
    for name in ("job", "source"):
        assert set(OURS.findall(variables[name]["definition"])) <= exposed().keys()


def cells_of(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def data_sources(node: Any) -> Iterator[Any]:
    """Yield every data source that the dashboard names."""
    children: Iterable[Any] = ()
    if isinstance(node, dict):
        if "datasource" in node:
            yield node["datasource"]
        children = node.values()
    elif isinstance(node, list):
        children = node
    for child in children:
        yield from data_sources(child)

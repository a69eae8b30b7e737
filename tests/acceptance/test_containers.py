"""Docker, docker-compose and Kubernetes: the files agree with each other and with the program.

No engine is needed. The commands of the files are run as processes, with their environment.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml

from catalog_sync import __version__
from catalog_sync.clock import parse_duration
from catalog_sync.config.load import load
from catalog_sync.config.schedule import Schedule
from catalog_sync.config.settings import DEFAULT_EVERY
from catalog_sync.demo.sandbox import Sandbox
from conftest import need
from daemons import Daemon
from support import environment, model, run

CHECKOUT = Path(__file__).parents[2]
CONFIG = CHECKOUT / "config"
MODELS = [model("a"), model("b")]
PORT = 9464
"""The daemon's port, in every file."""


@pytest.fixture
def api() -> Iterator[Sandbox]:
    with Sandbox(MODELS) as sandbox:
        yield sandbox


# --- Docker ------------------------------------------------------------------------------------


def stages() -> list[list[tuple[str, str]]]:
    """Return the Dockerfile's instructions, by stage, without those before the first stage."""
    text = CONFIG.joinpath("Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest.strip()))
    return found


def image(name: str) -> str:
    """Return the value of an instruction of the final image."""
    (said,) = [rest for instruction, rest in stages()[-1] if instruction == name]
    return said


def test_the_dockerfile_has_no_known_mistake() -> None:
    """The linter has no complaint about the Dockerfile."""
    done = subprocess.run(
        [need("hadolint"), CONFIG / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_is_built_from_all_that_the_package_is_built_from() -> None:
    """The files that pyproject.toml packs exist, are copied, and are all that a builder sees."""
    copied = {
        source for name, rest in stages()[0] if name == "COPY" for source in shlex.split(rest)[:-1]
    }
    project = tomllib.loads(CHECKOUT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    packed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    packed |= {*project["project"]["license-files"]}
    assert copied == packed | {"pyproject.toml", "build.lock", "image.lock"}
    assert [name for name in copied if not CHECKOUT.joinpath(name).exists()] == []
    lines = CHECKOUT.joinpath(".dockerignore").read_text(encoding="utf-8").splitlines()
    first, *rules = [line for line in lines if line and not line.startswith("#")]
    assert first == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied


def test_what_the_image_runs(api: Sandbox) -> None:
    """With a key alone the image runs the daemon, with a health check, and ends at SIGTERM."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image("USER"))
    assert image("WORKDIR") == "/data"
    assert json.loads(image("VOLUME")) == ["/data"]
    assert image("EXPOSE") == str(PORT)
    assert json.loads(image("ENTRYPOINT")) + json.loads(image("CMD")) == ["catalog-sync", "run"]
    _, _, health = image("HEALTHCHECK").partition(" CMD ")
    program, *arguments = json.loads(health)
    assert program == "catalog-sync"
    assert run(*arguments).returncode == 1  # before the first run
    with Daemon(ANTHROPIC_API_KEY=api.api_key, ANTHROPIC_BASE_URL=api.url) as daemon:
        daemon.runs("succeeded")
        assert run(*arguments).returncode == 0
        assert image("STOPSIGNAL") == "SIGTERM"
        assert daemon.end() == 0


# --- docker-compose ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.joinpath("compose.yaml").read_text(encoding="utf-8"))


def test_compose_knows_every_key() -> None:
    """The file fits the schema of the Compose specification."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, CONFIG / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_secrets_are_made_as_compose_wants_them(
    compose: dict[str, Any], tmp_path: Path, api: Sandbox
) -> None:
    """The file's own commands make every secret, and the services get matching ones."""
    text = CONFIG.joinpath("compose.yaml").read_text(encoding="utf-8")
    recipe = "".join(line[4:] for line in text.splitlines(keepends=True) if line.startswith("#   "))
    assert recipe.startswith("mkdir -m 700 secrets\n")
    variables = environment(ANTHROPIC_API_KEY=api.api_key)
    subprocess.run(["sh", "-euc", f"umask 077\n{recipe}"], env=variables, check=True)
    secrets = tmp_path / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    # Bind-mounted unchanged, and read by other users than their owner.
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o644}
    sources = {name: said["file"] for name, said in compose["secrets"].items()}
    assert sources == {file.name: f"../secrets/{file.name}" for file in secrets.iterdir()}

    ours, postgres = compose["services"]["catalog-sync"], compose["services"]["postgres"]
    assert {*ours["secrets"], *postgres["secrets"]} == set(sources)
    config = Path(ours["environment"]["CATALOG_SYNC_CONFIG"])
    assert config.parent == Path("/run/secrets")
    settings = load(secrets / config.name)
    (source,) = settings.sources
    assert Path(source.api_key_file).name in ours["secrets"]
    assert settings.credential(source).value == api.api_key
    url = sa.make_url(settings.database_url.get_secret_value())
    assert compose["services"][url.host] is postgres
    assert set(postgres["networks"]) <= set(ours["networks"])
    assert url.username == postgres["environment"]["POSTGRES_USER"]
    assert url.database == postgres["environment"]["POSTGRES_DB"]
    password = Path(postgres["environment"]["POSTGRES_PASSWORD_FILE"]).name
    assert secrets.joinpath(password).read_text() == url.password
    assert len(url.password) == 32


def test_compose_shuts_its_services_in(compose: dict[str, Any]) -> None:
    """Only the daemon reaches the database, and only this machine reaches the daemon."""
    ours, postgres = compose["services"]["catalog-sync"], compose["services"]["postgres"]
    assert ours["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert ours["environment"]["CATALOG_SYNC_HTTP_LISTEN"] == f"0.0.0.0:{PORT}"
    assert "ports" not in postgres
    assert [compose["networks"][name] for name in postgres["networks"]] == [{"internal": True}]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    build = ours["build"]
    directory = CONFIG.joinpath(build["context"]).resolve()
    assert directory.joinpath(build["dockerfile"]) == CONFIG / "Dockerfile"


# --- Kubernetes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(CONFIG.joinpath("kubernetes.yaml").read_text("utf-8")))


@pytest.fixture(scope="module")
def pods(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the templates of the pods: `daemon` and `cronjob`, as they are chosen."""
    daemon, cronjob = objects
    templates = (daemon["spec"]["template"], cronjob["spec"]["jobTemplate"]["spec"]["template"])
    found = {}
    for each, template in zip(objects, templates, strict=True):
        assert template["metadata"]["labels"] == each["metadata"]["labels"]
        found[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template
    assert daemon["spec"]["selector"]["matchLabels"] == daemon["metadata"]["labels"]
    return found


@pytest.mark.parametrize("version", ["1.25", kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_key(objects: list[dict[str, Any]], version: str) -> None:
    """Each object fits the schema of an old and of a new Kubernetes."""
    assert [each["kind"] for each in objects] == ["Deployment", "CronJob"]
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_pods_are_the_image(objects: list[dict[str, Any]], pods: dict[str, Any]) -> None:
    """Image, user and files are the same in every container, and those of the Dockerfile."""
    specs = [pods[name]["spec"] for name in ("daemon", "cronjob")]
    containers = [each for spec in specs for each in (*spec["initContainers"], *spec["containers"])]
    for key in ("image", "volumeMounts", "resources", "securityContext"):
        assert all(each[key] == containers[0][key] for each in containers), key
    for key in ("volumes", "securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert specs[0][key] == specs[1][key], key
    assert containers[0]["image"] == f"catalog-sync:{__version__}"
    context = specs[0]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image("USER")
    assert context["runAsNonRoot"] is True
    (volume,), (mount,) = specs[0]["volumes"], containers[0]["volumeMounts"]
    assert volume["name"] == mount["name"]
    assert mount["mountPath"] == "/etc/catalog-sync"  # the program's default directory
    assert objects[1]["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_pods_run(pods: dict[str, Any], database_url: str, api: Sandbox) -> None:
    """Each container's command does its job, and the probes find a live daemon."""
    Path("catalog-sync.toml").write_text(
        f'database_url = "{database_url}"\n[[sources]]\nname = "anthropic"\n'
        f'base_url = "{api.url}"\napi_key_file = "anthropic-api-key"\n',
        encoding="utf-8",
    )
    Path("anthropic-api-key").write_text(api.api_key, encoding="utf-8")
    for pod in pods.values():  # each finds the other's results
        (upgrade,) = pod["spec"]["initContainers"]
        done = run(*upgrade["args"])
        assert (done.returncode, done.stderr) == (0, "")
    (job,), (container,) = (pods[name]["spec"]["containers"] for name in ("cronjob", "daemon"))
    first, again = (run(*job["args"]) for _ in range(2))
    assert (first.returncode, "baseline" in first.stdout) == (0, True)
    assert (again.returncode, "skipped" in again.stdout) == (0, True)

    (variable,) = container["env"]
    (port,) = container["ports"]
    assert variable == {"name": "CATALOG_SYNC_HTTP_LISTEN", "value": f"0.0.0.0:{PORT}"}
    assert (port["name"], port["containerPort"]) == ("http", PORT)
    annotations = pods["daemon"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(PORT)
    ready, alive = container["readinessProbe"], container["livenessProbe"]
    assert ready["httpGet"]["port"] == alive["tcpSocket"]["port"] == port["name"]
    assert container["args"] == ["--log-format", "json", "run"]  # the class below runs it
    with Daemon(**{variable["name"]: "127.0.0.1:0"}) as daemon:
        (listening,) = daemon.wait_for(message="listening")
        address = ("127.0.0.1", listening["port"])
        url = f"http://{address[0]}:{address[1]}{ready['httpGet']['path']}"
        daemon.wait_for(message="started")
        with urlopen(url, timeout=10) as answer:
            assert answer.status == 200
        socket.create_connection(address, 10).close()
        assert daemon.end() == 0


def test_the_cronjob_has_the_interval_that_status_expects(objects: list[dict[str, Any]]) -> None:
    """The job runs as often as the daemon by default, and skips what the daemon just synced."""
    spec = objects[1]["spec"]
    interval = Schedule(DEFAULT_EVERY, spec["schedule"]).interval(datetime.now(UTC))
    (job,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    fresh = parse_duration(job["args"][job["args"].index("--if-older-than") + 1])
    assert fresh < interval == DEFAULT_EVERY

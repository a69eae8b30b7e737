"""The files of .github, the locks and the changelog fit the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog_sync import __version__
from conftest import need

CHECKOUT = Path(__file__).parents[2]
WORKFLOWS = sorted(CHECKOUT.joinpath(".github", "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [*WORKFLOWS, CHECKOUT / ".github" / "dependabot.yml"], ids=str)
def test_github_understands_the_file(path: Path) -> None:
    """A workflow, and Dependabot's configuration, fit GitHub's schemas."""
    schema = "vendor.dependabot" if path.stem == "dependabot" else "vendor.github-workflows"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=str)
def test_a_workflow_may_do_little(path: Path) -> None:
    """Actions are pinned by commit, jobs state their rights, and no checkout keeps a credential."""
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [each for each in uses if not PINNED.fullmatch(each)] == []
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    assert all(
        {"permissions", "timeout-minutes"} <= job.keys() for job in workflow["jobs"].values()
    )


def test_the_workflows_have_no_known_weakness() -> None:
    """The auditor of workflows finds nothing, in ours and in those that users copy."""
    audited = [CHECKOUT / ".github", *CHECKOUT.joinpath("config", "github").glob("*.yml")]
    done = subprocess.run(
        [need("zizmor"), "--offline", "--no-progress", *audited],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_ci_runs_each_python_that_is_promised() -> None:
    """The Pythons of the workflow are those of the package's classifiers."""
    project = CHECKOUT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    ci = loaded(CHECKOUT / ".github" / "workflows" / "ci.yml")
    assert ci["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised


def versions(name: str) -> dict[str, str]:
    text = CHECKOUT.joinpath(name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_the_image_installs_what_was_tested() -> None:
    """`image.lock` has the versions of `requirements.lock`, and a hash for each package."""
    image, tested = versions("image.lock"), versions("requirements.lock")
    assert image.items() <= tested.items()
    for name in ("image.lock", "build.lock"):
        text = CHECKOUT.joinpath(name).read_text(encoding="utf-8")
        packages = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
        assert packages
        assert [each for each in packages if "--hash=sha256:" not in each] == []


def test_the_changelog_has_this_version() -> None:
    """The newest entry of the changelog is the package's version."""
    text = CHECKOUT.joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)$", text, re.MULTILINE)[0] == __version__

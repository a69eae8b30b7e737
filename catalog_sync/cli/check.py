"""`check`: fails when a project depends on a model that has left or will leave. It needs no key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog_sync.cli import print_error, render
from catalog_sync.cli.options import (
    Context,
    duration_option,
    format_option,
    recorded,
    source_option,
)
from catalog_sync.domain.kinds import Verdict
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from catalog_sync.app import App
    from catalog_sync.check.ids import IdPattern
    from catalog_sync.check.report import Report
    from catalog_sync.domain.model import ModelRecord

_FROM_WORDS = "--"
"""The value of `--scan` if an option or `--` follows it. The paths are then in `words`."""
_VERDICTS = tuple(verdict.value for verdict in Verdict if verdict is not Verdict.FINE)


def _verdicts(
    _ctx: click.Context, _param: click.Parameter, value: Sequence[str]
) -> Sequence[str] | None:
    names = [name.strip() for text in value for name in text.split(",")]
    for name in names:
        if name not in _VERDICTS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(_VERDICTS)}")
    return names or None


@click.command(epilog="Example: catalog-sync check --scan . --exclude CHANGELOG.md")
@click.argument("words", metavar="[MODEL]...", nargs=-1, shell_complete=recorded("models"))
@click.option(
    "--scan",
    "paths",
    multiple=True,
    is_flag=False,
    flag_value=_FROM_WORDS,
    type=click.Path(),
    metavar="PATH...",
    help="Search this file or directory for ids. Further arguments that name files or directories "
    "are searched as well.",
)
@duration_option("--within", "60d", "Fail on a retirement within this time. [60d]")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="VERDICT,...",
    callback=_verdicts,
    help="Verdicts that fail the check; others are warnings. [all but deprecated]",
)
@click.option("--strict", is_flag=True, help="Fail on every verdict except fine.")
@click.option("--no-aliases", is_flag=True, help="Aliases such as claude-opus-4-0 are unknown.")
@click.option("--ignore", multiple=True, metavar="GLOB", help="Ids to skip; repeatable.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Files to skip, as .gitignore patterns; repeatable.",
)
@source_option
@format_option("table", "json", "github", "sarif")
@click.pass_obj
def check(
    context: Context,
    /,
    words: Sequence[str],
    paths: Sequence[str],
    sources: Sequence[str],
    format_: str | None,
    **rules: Any,
) -> int:
    """Fail when a model is unknown, retiring, retired or removed.

    Checks the named models and, with --scan, the ids in files. An alias is checked as the model
    that it names.

    A comment "catalog-sync: ignore" or "catalog-sync: ignore until=2027-01-31" skips its line.

    Exit codes: 0 fine or warnings only, 1 a problem, 2 wrong usage or nothing to check.
    """
    from catalog_sync.check import formats

    if not words and set(paths) <= {_FROM_WORDS}:
        raise click.UsageError("nothing to check; name a MODEL, or files with --scan PATH")
    if "" in (*words, *paths):  # from an unset variable
        raise click.UsageError("an empty MODEL or PATH")
    for path in paths:
        if path != _FROM_WORDS and not os.path.lexists(path):
            raise ConfigError(f"--scan {path}: no such file or directory")
    with context.app() as app:
        records = app.models(sources=sources, removed=True)
        if not records:
            print_error("nothing was recorded yet; run: catalog-sync sync")
            return 1
        _warn_of_sources(app, sources, records)
        report = _checked(app, records, words, paths, **rules)
    if format_ == "json":
        render.write_json(report.to_json())
    elif format_ == "sarif":
        render.write_json(formats.sarif(report))
    elif format_ == "github":
        render.write("\n".join(formats.github_annotations(report)))
        _append_summary(formats.github_summary(report))
    else:
        render.write("\n".join(report.lines()))
    return int(report.failed)


def _warn_of_sources(app: App, sources: Sequence[str], records: Sequence[ModelRecord]) -> None:
    """Warn about sources that are stale and about those that are not configured."""
    from catalog_sync.queries.health import stale_text

    configured = {source.name for source in app.settings.sources}
    for name in sorted({record.source for record in records} - configured):
        print_error(
            f"source {name} is in the database but not in the configuration; its models count; "
            "see: catalog-sync sources list"
        )
    for source in app.stale(sources):
        print_error(f"{stale_text(source, app.clock())}; run: catalog-sync sync")


def _checked(
    app: App,
    records: Sequence[ModelRecord],
    words: Sequence[str],
    paths: Sequence[str],
    *,
    within: timedelta | None,
    fail_on: Sequence[str] | None,
    strict: bool,
    no_aliases: bool,
    ignore: Sequence[str],
    exclude: Sequence[str],
) -> Report:
    """Search the files, judge every id, and return the report. None uses the configuration."""
    from catalog_sync.check.ids import IdPattern
    from catalog_sync.check.report import Report, printable
    from catalog_sync.check.scan import Scan, scan
    from catalog_sync.check.verdicts import Verdicts

    defaults, now = app.settings.check, app.clock()
    ids = IdPattern(record.info.id for record in records)
    named, files = _models_and_paths(words, paths, ids)
    found = Scan()
    if files:
        found = scan(files, ids, now.date(), exclude=[*defaults.exclude, *exclude])
        for path, reason in found.unreadable:
            print_error(f"cannot read ({reason}): {printable(path)}")
        for note in found.notes:
            print_error(printable(note))
    within = defaults.within if within is None else within
    judged = Verdicts(records, now, within, resolve_aliases=not no_aliases)
    every = dict.fromkeys([*named, *(one.model_id for one in found.found)])
    globs = [*defaults.ignore, *ignore]
    verdicts = {
        id_: judged.of(id_) for id_ in every if not any(fnmatchcase(id_, glob) for glob in globs)
    }
    for model_id, verdict in verdicts.items():
        for one in verdict.by_source:
            if one.record.missing_since is not None and one.record.listed:
                print_error(
                    f"{model_id} is missing from the list of source {one.record.source} since "
                    f"{one.record.missing_since:%Y-%m-%d}; its removal is not confirmed yet"
                )
    return Report(
        verdicts,
        named,
        now,
        _VERDICTS if strict else fail_on or defaults.fail_on,
        found,
        scanned=bool(files),
        ignored=len(every) - len(verdicts),
    )


def _models_and_paths(
    words: Sequence[str], paths: Sequence[str], ids: IdPattern
) -> tuple[list[str], list[str]]:
    """Separate models from paths, so that `--scan src/ config/` searches both directories.

    With --scan, a word that names a file or directory is a path. It is also checked as a model if
    the catalog has recorded it. A word with a slash that is neither is a missing path.

    Raises:
        ConfigError: A path is missing, or --scan has no path.
    """
    there = [word for word in dict.fromkeys(words) if os.path.lexists(word)]
    files = [path for path in paths if path != _FROM_WORDS] + (there if paths else [])
    if paths and not files:
        raise ConfigError("--scan: no file or directory is named")
    models = []
    for word in dict.fromkeys(words):
        if word in files and word not in ids.recorded:
            continue
        models.append(word)
        if ids.matches(word):
            continue
        if word in there:
            print_error(f"{word} is a file or directory; search it with --scan {word}")
        elif paths and "/" in word:
            raise ConfigError(f"--scan {word}: no such file or directory", "nor a known model")
        elif paths:
            print_error(f"{word} is no file or directory here; it is checked as a model")
    return models, files


def _append_summary(text: str) -> None:
    """Add text to the page of the job, if GitHub Actions runs the program."""
    if not (file := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    try:
        with Path(file).open("a", encoding="utf-8", errors="backslashreplace") as summary:
            summary.write(text)
    except OSError as error:
        print_error(f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}")

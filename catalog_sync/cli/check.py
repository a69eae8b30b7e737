"""`catalog-sync check`: can the models that you depend on be depended on?

It reads the catalog and the files that it is told to look into, and needs no key.
"""

from __future__ import annotations

import os
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error
from catalog_sync.cli.options import DURATION
from catalog_sync.domain.kinds import Verdict
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from catalog_sync.check.ids import IdPattern
    from catalog_sync.check.scan import Scan
    from catalog_sync.cli import Context
    from catalog_sync.domain.model import ModelRecord

__all__ = ["check"]

_WITHIN = timedelta(days=60)
"""Where nobody says otherwise: time enough to plan a move."""
_ALONE = "--"
"""What `--scan` is given where an option or `--` follows: the paths are among the words."""


@click.command()
@click.argument("words", metavar="[MODEL]...", nargs=-1)
@click.option(
    "--scan",
    "paths",
    multiple=True,
    is_flag=False,
    flag_value=_ALONE,
    metavar="PATH...",
    help="Look for ids in this file or directory; the words after it that name files or "
    "directories are "
    "looked into as well.",
)
@click.option(
    "--within",
    type=DURATION,
    default=_WITHIN,
    metavar="60d",
    help="How near a retirement date is a problem. Default: 60d.",
)
@click.option(
    "--ignore", "ignored", multiple=True, metavar="GLOB", help="Ids that are fine; repeatable."
)
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "github", "sarif"]),
    default="table",
    show_default=True,
    help="A line per problem for people and editors, annotations for GitHub Actions, or JSON or "
    "SARIF for tools.",
)
@click.pass_context
def check(
    ctx: click.Context,
    words: Sequence[str],
    paths: Sequence[str],
    within: timedelta,
    ignored: Sequence[str],
    sources: Sequence[str],
    format_: str,
) -> int:
    """Fail when a model is unknown, deprecated, retiring soon, retired or removed.

    Checked are the named models, and with --scan the ids that files mention.
    """
    if not words and set(paths) <= {_ALONE}:
        raise click.UsageError("nothing to check; name a MODEL, or files with --scan PATH", ctx)
    if "" in (*words, *paths):  # a variable that was meant to be set
        raise click.UsageError("an empty MODEL or PATH", ctx)
    for path in paths:
        if path != _ALONE and not os.path.lexists(path):
            raise ConfigError(f"--scan {path}: no such file or directory")
    from catalog_sync.check.ids import IdPattern  # noqa: PLC0415
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415  # heavy
    from catalog_sync.queries import health  # noqa: PLC0415  # heavy

    context: Context = ctx.obj
    with context.app() as app:
        with app.reading(sources) as session:
            records = queries_catalog.list_models(session, sources=sources, removed=True)
        if not records:
            print_error("nothing was recorded yet; run: catalog-sync sync")
            return 1
        held = {record.info.id for record in records}
        mentions = IdPattern(held)
        models, paths = _sorted(words, paths, mentions)
        scan = _scan(paths, mentions)
        now = app.clock()
        for source in app.stale(sources):
            print_error(f"{health.stale_text(source, now)}; run: catalog-sync sync")
    return _report(records, models, scan, now, within, ignored, format_)


def _sorted(
    words: Sequence[str], paths: Sequence[str], mentions: IdPattern
) -> tuple[list[str], list[str]]:
    """Tell models from paths, so that `--scan src/ config/` is what it looks like.

    With --scan, a word that names a file or a directory is a path, and one that also was listed is
    checked besides; one with a slash that is neither is a path that is missing.
    """
    there = [word for word in words if os.path.lexists(word)]
    if not paths:
        for word in there:
            if word not in mentions.held:
                print_error(f"{word} is a file or directory; look for ids in it with --scan {word}")
        return list(dict.fromkeys(words)), []
    paths = [path for path in paths if path != _ALONE] + there
    if not paths:
        raise ConfigError("--scan: no file or directory is named")
    models = [word for word in dict.fromkeys(words) if word not in there or word in mentions.held]
    for word in models:
        if word in mentions.held or mentions.whole(word):
            continue
        if "/" in word:
            raise ConfigError(
                f"--scan {word}: no such file or directory", "nor was it ever a model"
            )
        print_error(f"{word} is no file or directory here; it is checked as a model")
    return models, paths


def _scan(paths: Sequence[str], mentions: IdPattern) -> Scan | None:
    """Look into the files; say which could not be read. Null where there are none to look into."""
    from catalog_sync.check.scan import scan  # noqa: PLC0415
    from catalog_sync.cli.findings import shown  # noqa: PLC0415  # heavy

    if not paths:
        return None
    result = scan(paths, mentions)
    for path, reason in result.unreadable:
        print_error(f"cannot read ({reason}): {shown(path)}")
    return result


def _report(
    records: Sequence[ModelRecord],
    models: Sequence[str],
    scan: Scan | None,
    now: datetime,
    within: timedelta,
    ignored: Sequence[str],
    format_: str,
) -> int:
    from catalog_sync.check.verdicts import judge  # noqa: PLC0415
    from catalog_sync.cli import findings, render  # noqa: PLC0415  # heavy

    found = scan.found if scan else ()
    ids = dict.fromkeys([*models, *(one.place.model_id for one in found)])
    judged = {
        model_id: judge(model_id, records, now, within)
        for model_id in ids
        if not any(fnmatchcase(model_id, glob) for glob in ignored)
    }
    bad = {key: one for key, one in judged.items() if one.verdict is not Verdict.FINE}
    problems = [findings.Finding(bad[model]) for model in models if model in bad]
    problems += [
        findings.Finding(bad[one.place.model_id], one) for one in found if one.place.model_id in bad
    ]
    unreadable = scan.unreadable if scan else ()
    if format_ == "json":
        render.write_json([findings.to_json(problem, now) for problem in problems])
    elif format_ == "sarif":
        render.write_json(findings.to_sarif(problems, unreadable, now))
    else:
        line = findings.annotation if format_ == "github" else findings.line
        summary = findings.summary(len(judged), len(ids) - len(judged), scan, len(problems))
        render.write("\n".join([*(line(problem, now) for problem in problems), summary]))
    return int(bool(problems or unreadable))

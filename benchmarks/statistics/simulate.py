"""What intervals and tests are worth: level, power and coverage on outcomes that are made at random.

`make simulate` runs everything here (seeded, all cores) and writes its tables into docs/statistics.md. The outcome of
method j on clip i under seed s is drawn with probability

    sigmoid(1 + c[i] + m[i, j] + g[group of i, j] + r[j, s] + e[i, j, s] + shift[j])

c: how easy a clip is; m: a method's own easy and hard clips, the same ones under every seed; g: the same for groups of
five clips, which then also share c; r: the luck of a run; e: that of a run on a clip. A level is how often equal
methods are told apart, a power how often a shifted one is; coverage is how often an interval holds the value over all
clips and runs.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from petl_bench.analysis.panels import Panel, Term
from petl_bench.analysis.significance import (
    LEVEL,
    SeedVariance,
    difference,
    holm,
    interval,
    pooled,
    seed_variance,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
BASE = 1.0
#: How much better a method is if power is asked for, by the number of clips.
SHIFTS = {60: 1.2, 400: 0.45, 1500: 0.25, 3783: 0.15}
#: The same in tables of several methods, at 400 clips.
TABLE_SHIFT = 0.6
GROUP_SIZE = 5
_DRAWN_FOR_TRUTH = 1_000_000


@dataclass(frozen=True)
class World:
    """Standard deviations of the terms above. `places`: how many splits share clips, two thirds of all in each;
    `steady`: the second method has one outcome under all seeds, as a method without training has."""

    name: str
    c: float = 1.5
    m: float = 0.0
    g: float = 0.0
    r: float = 0.0
    e: float = 0.0
    grouped: bool = False
    places: int = 1
    steady: bool = False


WORLDS = (
    World("independent clips"),
    World("method by clip", m=1.0),
    World("seeds and clips", r=0.2, e=0.5),
    World("seeds only", r=0.3),
    World("groups of 5", g=0.7, r=0.1, grouped=True),
    World("few clips that differ", c=40.0, m=3.0),
    World("clips shared by 3 splits", m=1.0, r=0.1, places=3),
    World("against a method without seeds", r=0.2, steady=True),
)


def draw(world: World, methods: int, seeds: int, clips: int, shift: float, random: np.random.Generator) -> list[Term]:
    """A side of panels for each of two measures, such as base and novel; the first method is shifted, runs have the
    same luck on both sides."""
    luck = normal(random, world.r, (methods, seeds))
    luck[1:] *= not world.steady
    return [_side(world, side * clips, luck, clips, shift, random) for side in (0, 1)]


def _side(
    world: World, first_unit: int, luck: np.ndarray, clips: int, shift: float, random: np.random.Generator
) -> list[Panel]:
    methods, seeds = luck.shape
    groups = np.arange(clips) // GROUP_SIZE if world.grouped else np.arange(clips)
    easy = random.normal(0, world.c, groups[-1] + 1)[groups]
    logits = np.broadcast_to(BASE + easy, (methods, seeds, clips)) + luck[:, :, None]
    logits = logits + normal(random, world.m, (methods, 1, clips))
    logits = logits + normal(random, world.g, (methods, 1, groups[-1] + 1))[:, :, groups]
    logits = logits + normal(random, world.e, (methods, seeds, clips))
    logits[0] += shift
    right = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    if world.steady:
        right[1] = right[1, :1]
    units = first_unit + groups
    if world.places == 1:
        return [Panel(right, units)]
    chosen = [random.random(clips) < 2 / 3 for _ in range(world.places)]
    return [Panel(right[:, :, mask], units[mask]) for mask in chosen]


def normal(random: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers; zeros, without a draw, if the deviation is 0."""
    return random.normal(0, deviation, shape) if deviation else np.zeros(shape)


def rows_of(sides: list[Term], *rows: int) -> list[list[Panel]]:
    """The same sides with some of their rows."""
    return [[Panel(panel.right[list(rows)], panel.units) for panel in side] for side in sides]


def expected(world: World, shift: float) -> float:
    """Accuracy over all clips and runs, as a part of 1."""
    random = np.random.default_rng(0)
    spread = np.sqrt(world.c**2 + world.m**2 + world.g**2 + world.r**2 + world.e**2)
    return float(np.mean(1 / (1 + np.exp(-(BASE + shift + random.normal(0, spread, _DRAWN_FOR_TRUTH))))))


# Two methods


@dataclass(frozen=True)
class SimulatedCell:
    """One question: a world, seeds, clips, and whether the measure is one accuracy or a harmonic mean of two."""

    world: World
    seeds: int
    clips: int
    harmonic: bool = False


@dataclass(frozen=True)
class Answer:
    """Parts of 1. `covered`: by the interval of one method; `difference_covered`: of a difference that is there."""

    level: float
    power: float
    covered: float
    difference_covered: float


def answer(cell: SimulatedCell, tries: int) -> Answer:
    """Level and coverage from `tries` tries, power from as many again."""
    random = random_of(cell)
    shift = SHIFTS[cell.clips]
    low, high = expected(cell.world, 0.0), expected(cell.world, shift)
    level = power = covered = difference_covered = 0
    for _ in range(tries):
        sides = _measured(cell, 0.0, random)
        level += difference(sides).p_value < LEVEL
        ends = interval(rows_of(sides, 0))
        covered += ends[0] <= 100 * low <= ends[1]
        found = difference(_measured(cell, shift, random))
        power += found.p_value < LEVEL and found.value > 0
        difference_covered += found.interval[0] <= 100 * (high - low) <= found.interval[1]
    return Answer(level / tries, power / tries, covered / tries, difference_covered / tries)


def _measured(cell: SimulatedCell, shift: float, random: np.random.Generator) -> list[Term]:
    sides = draw(cell.world, 2, cell.seeds, cell.clips, shift, random)
    return sides if cell.harmonic else sides[:1]


def random_of(cell: object) -> np.random.Generator:
    """The generator of a cell: the same one whichever other cells there are."""
    return np.random.default_rng(zlib.crc32(repr(cell).encode()))


# Tables of several methods


@dataclass(frozen=True)
class TableCell:
    """Tables of equal methods with two columns, 400 clips each; and the same with one method that is better."""

    world: World
    seeds: int
    methods: int
    clips: int = 400


@dataclass(frozen=True)
class TableAnswer:
    """`wrong`: tables in which some method is told apart from the best of a column, though all are equal; `found`: of
    the methods that are worse than the best, the part that is told apart from it."""

    wrong: float
    found: float


def answer_table(cell: TableCell, tries: int) -> TableAnswer:
    """Of as many tables of each kind."""
    random = random_of(cell)
    wrong, found = 0, 0.0
    for _ in range(tries):
        wrong += any(apart.any() for _, apart in told_apart(_drawn(cell, 0.0, random), cell.methods))
        columns = list(told_apart(_drawn(cell, TABLE_SHIFT, random), cell.methods))
        found += float(np.mean([apart.mean() if best == 0 else 0.0 for best, apart in columns]))
    return TableAnswer(wrong / tries, found / tries)


def _drawn(cell: TableCell, shift: float, random: np.random.Generator) -> list[Term]:
    return draw(cell.world, cell.methods, cell.seeds, cell.clips, shift, random)


def told_apart(sides: list[Term], methods: int) -> Iterator[tuple[int, np.ndarray]]:
    """For each column: which method is best, and which of the others are told apart from it."""
    pairs = list(combinations(range(methods), 2))
    usual = [_usual(side, methods) for side in sides]
    p_values = holm(
        [
            difference(rows_of([side], *pair), own).p_value
            for side, own in zip(sides, usual, strict=True)
            for pair in pairs
        ]
    )
    for index, side in enumerate(sides):
        best = int(np.argmax([np.mean([panel.right[row].mean() for panel in side]) for row in range(methods)]))
        own = dict(zip(pairs, p_values[index * len(pairs) : (index + 1) * len(pairs)], strict=True))
        yield best, np.array([value < LEVEL for pair, value in own.items() if best in pair])


def _usual(side: Term, methods: int) -> SeedVariance | None:
    found = [seed_variance(rows_of([side], row)) for row in range(methods)]
    return pooled([each for each in found if each is not None])


# All of it


def cells() -> list[SimulatedCell]:
    """Every pair of the tables in docs/statistics.md."""
    return [
        SimulatedCell(world, seeds, clips, harmonic)
        for harmonic in (False, True)
        for seeds in (1, 2, 3, 5)
        for clips in SHIFTS
        for world in WORLDS
    ]


def table_cells() -> list[TableCell]:
    """Every table of several methods there."""
    return [TableCell(world, seeds, methods) for seeds in (2, 3, 5) for methods in (3, 6, 12) for world in WORLDS[:5]]


def main() -> None:
    """Run the cells and write what comes out into the document."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--tries", type=int, default=1000, help="pairs of methods per cell")
    parser.add_argument("--tables", type=int, default=200, help="tables per cell, half of it for 12 methods")
    options = parser.parse_args()
    started = time.monotonic()
    pairs, tables = cells(), table_cells()
    tries = [options.tries for _ in pairs]
    table_tries = [options.tables if cell.methods < 12 else options.tables // 2 for cell in tables]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(pairs, pool.map(answer, pairs, tries), strict=True))
        found_tables = dict(zip(tables, pool.map(answer_table, tables, table_tries), strict=True))
    minutes = (time.monotonic() - started) / 60
    error = 100 * (LEVEL * (1 - LEVEL) / options.tries) ** 0.5
    made = (
        f"`make simulate` of {datetime.date.today():%d %B %Y}: Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {minutes:.0f} minutes on {os.cpu_count()} cores. {options.tries:,} tries per cell "
        f"(standard error of a level of 5 %: {error:.1f} points), {options.tables} tables (half with 12 methods)."
    )
    text = "\n\n".join([made, *sections(found, found_tables)])
    document = DOCUMENT.read_text()
    written = re.sub(r"(<!-- simulated -->\n).*(\n<!-- end -->)", lambda m: m[1] + text + m[2], document, flags=re.S)
    DOCUMENT.write_text(written)
    print(text)


def sections(found: dict[SimulatedCell, Answer], tables: dict[TableCell, TableAnswer]) -> Iterator[str]:
    """The tables as Markdown."""
    yield from _pair_section(found, "Level; power, in percent", lambda a: f"{percent(a.level)}; {100 * a.power:.0f}")
    yield from _pair_section(
        found,
        "Coverage of 95 % intervals: of a number; of a difference, in percent",
        lambda a: f"{percent(a.covered)}; {percent(a.difference_covered)}",
    )
    yield "Tables of several methods, 400 clips: tables with a wrong verdict; worse methods found, in percent"
    rows = sorted({(cell.seeds, cell.methods) for cell in tables})
    yield markdown(
        ["seeds", "methods", *(world.name for world in WORLDS[:5])],
        [
            [str(seeds), str(methods)]
            + [
                f"{percent(answer.wrong)}; {100 * answer.found:.0f}"
                for cell, answer in tables.items()
                if (cell.seeds, cell.methods) == (seeds, methods)
            ]
            for seeds, methods in rows
        ],
    )


def _pair_section(found: dict[SimulatedCell, Answer], title: str, shown: Callable[[Answer], str]) -> Iterator[str]:
    for harmonic, of in ((False, "an accuracy"), (True, "a harmonic mean, as many clips on either side")):
        yield f"{title}: {of}"
        yield markdown(
            ["seeds", "clips", *(world.name for world in WORLDS)],
            [
                [str(seeds), f"{clips:,}"]
                + [shown(found[SimulatedCell(world, seeds, clips, harmonic)]) for world in WORLDS]
                for seeds in (1, 2, 3, 5)
                for clips in SHIFTS
            ],
        )


def percent(part: float) -> str:
    """A part of 1 as a number of percent."""
    return f"{100 * part:.1f}"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()

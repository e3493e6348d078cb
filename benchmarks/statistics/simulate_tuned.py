"""What the tests of tables are worth if the methods were tuned: part of `make simulate`.

Each method has a curve over x, the decimal logarithm of a value such as the learning rate over that of the recipe: the
value adds -drop * (x - OPTIMUM)^2 to the logits of simulate.py. All methods have the same curve. A method with a budget
of N is tried at the recipe (x = 0) and at N - 1 values drawn evenly from a decade on either side; the value with the
best mean over seeds is chosen, and its runs are compared by the tests of the tables. What differs is the rule: which
clips and runs the choice sees.

Half of the variance of m (a method's own easy and hard clips) belongs to the method with any value, half to the value.
The luck r belongs to the value and the seed: another value, another luck, which is the worst case for a choice.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from simulate import BASE, DOCUMENT, WORLDS, World, markdown, normal, percent, random_of, rows_of, told_apart

from petl_bench.analysis.panels import Panel, Term
from petl_bench.analysis.significance import LEVEL, difference

#: "fresh": held-out training clips, then runs with other seeds; "same": held-out training clips, then runs with the
#: seeds of the tuning, whose luck is the same; "test": the runs and the test clips that are then compared.
Rule = Literal["fresh", "same", "test"]
RULES: dict[Rule, str] = {
    "fresh": "held-out clips, other seeds",
    "same": "held-out clips, the same seeds",
    "test": "the test clips and seeds",
}
OPTIMUM = 0.4
#: By how much the logit falls a decade from the best value.
PEAKED, FLAT = 1.0, 0.0
#: Held-out clips under each seed: a fourth of 16 clips of each of 25 classes.
HELD_OUT = 100
CHOSEN_WORLDS = WORLDS[1:4]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True)
class TunedCell:
    """One question. `budgets`: the number of proposals of each method, 1 for one that is not tuned."""

    world: World
    rule: Rule
    budgets: tuple[int, ...]
    drop: float
    clips: int = 400
    seeds: int = 3


@dataclass(frozen=True)
class TunedAnswer:
    """`apart`: parts of 1 in which some method is told apart from the best one. Of the first method minus the second:
    `covered`: how often the interval holds the true difference of the values chosen for them; `true` and `measured`:
    that difference and the measured one on average, in percentage points."""

    apart: float
    covered: float
    true: float
    measured: float


def answer_tuned(cell: TunedCell, tries: int) -> TunedAnswer:
    """Tune and compare `tries` times."""
    random = random_of(cell)
    apart = covered = 0
    true, measured = np.empty(tries), np.empty(tries)
    for index in range(tries):
        shifts, side = _tuned(cell, random)
        apart += any(found.any() for _, found in told_apart([side], len(cell.budgets)))
        found = difference(rows_of([side], 0, 1))
        true[index], measured[index] = _accuracy(cell.world, shifts[0]) - _accuracy(cell.world, shifts[1]), found.value
        covered += bool(found.interval[0] <= true[index] <= found.interval[1])
    return TunedAnswer(apart / tries, covered / tries, float(true.mean()), float(measured.mean()))


def _accuracy(world: World, shift: float) -> float:
    """Over all clips and runs, in percent; `expected` of simulate.py without drawing."""
    spread = np.sqrt(world.c**2 + world.m**2 + world.r**2 + world.e**2)
    return 100 * float(_WEIGHTS @ (1 / (1 + np.exp(-(BASE + shift + spread * _NODES)))) / _WEIGHTS.sum())


def _tuned(cell: TunedCell, random: np.random.Generator) -> tuple[list[float], Term]:
    """What the chosen values add to the logits, and the runs that are compared."""
    ease_of_test = random.normal(0, cell.world.c, (1, cell.clips))
    ease = ease_of_test if cell.rule == "test" else random.normal(0, cell.world.c, (cell.seeds, HELD_OUT))
    chosen = [_tune(cell, budget, ease, ease_of_test, random) for budget in cell.budgets]
    return [shift for shift, _ in chosen], [Panel(np.stack([right for _, right in chosen]), np.arange(cell.clips))]


def _tune(
    cell: TunedCell, budget: int, ease: np.ndarray, ease_of_test: np.ndarray, random: np.random.Generator
) -> tuple[float, np.ndarray]:
    """One method: what its chosen value adds to the logits, and its runs [S, clips] with it."""
    values = np.array([0.0, *random.uniform(-1, 1, budget - 1)])
    shifts = -cell.drop * (values - OPTIMUM) ** 2
    luck = normal(random, cell.world.r, (budget, cell.seeds))
    seen = _right(cell.world, shifts, luck, ease, random)
    best = int(seen.mean(axis=(1, 2)).argmax())
    shift = shifts[best : best + 1]
    if cell.rule == "test":
        return float(shift[0]), seen[best]
    of_runs = luck[best : best + 1] if cell.rule == "same" else normal(random, cell.world.r, (1, cell.seeds))
    return float(shift[0]), _right(cell.world, shift, of_runs, ease_of_test, random)[0]


def _right(
    world: World, shifts: np.ndarray, luck: np.ndarray, ease: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Right or wrong [N, S, clips] of a method with values [N]. `ease`: of one set of clips, or of one per seed."""
    half = world.m / np.sqrt(2)
    logits: np.ndarray = (
        BASE + ease + normal(random, half, ease.shape) + normal(random, half, (len(shifts), *ease.shape))
    )
    logits = logits + shifts[:, None, None] + luck[:, :, None]
    logits = logits + normal(random, world.e, logits.shape)
    right: np.ndarray = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return right


# All of it

#: Budgets, and the curve: what is compared under every rule.
QUESTIONS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((8, 8), FLAT),
    ((8, 1), FLAT),
    ((32, 1), FLAT),
    ((8, 8), PEAKED),
    ((16, 2), PEAKED),
    ((8, 1, 1, 1, 1, 1), FLAT),
    ((8,) * 6, PEAKED),
)


def cells() -> list[TunedCell]:
    """Every cell of the tables in docs/statistics.md."""
    return [
        TunedCell(world, rule, budgets, drop, clips)
        for clips in (400, 1500)
        for rule in RULES
        for budgets, drop in _questions(clips)
        for world in CHOSEN_WORLDS
    ]


def _questions(clips: int) -> list[tuple[tuple[int, ...], float]]:
    """Tables of several methods with 400 clips alone, as in simulate.py."""
    return [(budgets, drop) for budgets, drop in QUESTIONS if len(budgets) == 2 or clips == 400]


def main() -> None:
    """Run the cells and write what comes out into the document."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--tries", type=int, default=1000, help="comparisons per cell")
    options = parser.parse_args()
    started = time.monotonic()
    asked = cells()
    with ProcessPoolExecutor() as pool:
        found = dict(zip(asked, pool.map(answer_tuned, asked, [options.tries for _ in asked]), strict=True))
    error = 100 * (LEVEL * (1 - LEVEL) / options.tries) ** 0.5
    made = (
        f"`make simulate` of {datetime.date.today():%d %B %Y}: Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {(time.monotonic() - started) / 60:.0f} minutes of it on {os.cpu_count()} cores. "
        f"{options.tries:,} comparisons per cell (standard error of a level of 5 %: {error:.1f} points)."
    )
    text = "\n\n".join([made, *sections(found)])
    document = DOCUMENT.read_text()
    marks = r"(<!-- simulated, tuned -->\n).*(\n<!-- end of tuned -->)"
    DOCUMENT.write_text(re.sub(marks, lambda match: match[1] + text + match[2], document, flags=re.S))
    print(text)


def sections(found: dict[TunedCell, TunedAnswer]) -> Iterator[str]:
    """The tables as Markdown, one for each number of test clips."""
    for clips in sorted({cell.clips for cell in found}):
        yield (
            "Told apart; intervals that hold the true difference of the chosen values, in percent; the measured "
            f"difference of the first two and the true one, in points: {clips:,} test clips, 3 seeds"
        )
        yield markdown(
            ["curve", "proposals", "chosen by", *(world.name for world in CHOSEN_WORLDS)],
            [
                ["flat" if drop == FLAT else "peaked", _budgets(budgets), RULES[rule]]
                + [_shown(found[TunedCell(world, rule, budgets, drop, clips)]) for world in CHOSEN_WORLDS]
                for budgets, drop in _questions(clips)
                for rule in RULES
            ],
        )


def _budgets(budgets: tuple[int, ...]) -> str:
    if len(budgets) == 2:
        return f"{budgets[0]} and {budgets[1]}"
    rest = f"{budgets[1]} each of {len(budgets) - 1} others"
    return f"{budgets[0]} each of {len(budgets)}" if len(set(budgets)) == 1 else f"{budgets[0]} and {rest}"


def _shown(found: TunedAnswer) -> str:
    measured, true = (round(each, 1) + 0.0 for each in (found.measured, found.true))
    return f"{percent(found.apart)}; {percent(found.covered)}; {measured:.1f} ({true:.1f})"


if __name__ == "__main__":
    main()

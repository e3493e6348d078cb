"""`petl-bench compare`: is the difference between two methods real? Never loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from petl_bench.api.registry import TABLES
from petl_bench.cli.gather import gather
from petl_bench.cli.options import folders_option, plugin_option, tell
from petl_bench.errors import UsageError
from petl_bench.render import FIGURE_FORMATS, format_of, render
from petl_bench.system.files import write_atomically
from petl_bench.system.texts import lines as clean_lines
from petl_bench.tables.class_gains import EvaluationGains, class_gains, gains_figure, gains_table
from petl_bench.tables.compare_pair import absent_numbers, findings, in_words
from petl_bench.tables.frontier import FrontierSource, dominance_lines


@click.command()
@click.argument("a")
@click.argument("b")
@folders_option
@click.option("--table", "names", multiple=True, help="Only the columns of this table; may be given several times.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write what A gains over B by class: .pdf, .svg, .png, or .csv and other tables.")  # fmt: skip
@plugin_option
def command(a: str, b: str, folders: tuple[Path, ...], names: tuple[str, ...], output: Path | None) -> None:
    """Say in plain words whether A is better than B: paired tests on the same clips and seeds.

    A and B are methods, or rows as a table shows them, such as "msta (scale=0.01)" or "MSTA (scale 0.01)". Of methods
    with several learning rates, it says at which of them one dominates the other in base and novel accuracy, if at any.

    \b
    petl-bench compare msta lora --runs runs
    petl-bench compare msta lora --runs runs --table base2novel --output gains.pdf
    """  # fmt: skip
    output_format = None if output is None else format_of(output)
    sources = [TABLES.get(name)() for name in names or TABLES.names()]
    evidence = gather(folders, statistics=True)
    along = [
        line for each in sources if isinstance(each, FrontierSource) for line in dominance_lines(each, evidence, a, b)
    ]
    try:
        found = findings(sources, evidence, a, b)
    except UsageError as error:
        rows_asked_for = not all(isinstance(each, FrontierSource) for each in sources)
        if not along and not rows_asked_for:
            raise UsageError(
                f"{a} and {b} have no frontier here: it takes two methods on the same data, one of them with several "
                "values of one option. See: petl-bench report --table frontier"
            ) from None
        if not along or output is not None:
            raise
        for line in [*along, *([f"No two rows were compared: {error}"] if rows_asked_for else [])]:
            click.echo(clean_lines(line))
        return
    for line in [*in_words(found, absent_numbers(sources, evidence, a, b)), *along]:
        click.echo(clean_lines(line))
    if output is not None and output_format is not None:
        notes = dict.fromkeys(f"With a reservation: {each}." for finding in found for each in finding.reservations)
        gains = class_gains(sources, evidence, a, b)
        write_atomically(output, _content(gains, list(notes), output_format))
        click.echo(f"wrote {output} ({output_format})", err=True)


def _content(gains: Sequence[EvaluationGains], notes: Sequence[str], output_format: str) -> bytes:
    """The gains as a picture, whose notes go to stderr for the caption, or as a table."""
    if output_format not in FIGURE_FORMATS:
        return render(gains_table(gains, notes), output_format).encode()
    from petl_bench.render.figures import draw

    figure = gains_figure(gains, notes)
    for note in figure.notes:
        tell(note)
    return draw(figure, output_format)

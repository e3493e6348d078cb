"""`petl-bench report`: records become a table. Never loads torch."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click

from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import DocumentKind, Spread, Table
from petl_bench.cli.choices import OneOf
from petl_bench.cli.gather import MANY_TRIALS, gather, gather_if_any
from petl_bench.cli.options import folders_option, plugin_option, tell
from petl_bench.cli.report.all_ import folder_for_all, write_all
from petl_bench.cli.report.figure import refuse_without_figure, write_figure
from petl_bench.cli.report.layout import laid_out, latex_of, read_layout_of, refuse_layout
from petl_bench.cli.report.own_ledger import read_own, refuse_unless_shown, tell_unplaced
from petl_bench.cli.report.page import is_page, write_page
from petl_bench.errors import UsageError
from petl_bench.records.read import without_garbage_collection
from petl_bench.render import FIGURE_FORMATS, FORMATS, PROVENANCE_SUFFIX, format_of, render, render_provenance
from petl_bench.render.options import LatexOptions
from petl_bench.system.files import write_atomically
from petl_bench.system.texts import clean
from petl_bench.tables.commands import is_command
from petl_bench.tables.explain import explain as explained

_SHOWN = 8
_LATEX_FLAGS = "--standalone, --document, --caption and --label"


@click.command()
@folders_option
@click.option("--table", "name", help="Which table: petl-bench list tables. Optional for a page (--output FOLDER/).")
@click.option("--all", "everything", is_flag=True,
              help="Every table and figure in every format, and the page, into --output.")  # fmt: skip
@click.option("--format", "output_format", type=OneOf([*FORMATS, *FIGURE_FORMATS]), default=None,
              help="Output format; by default as the suffix of --output says, else terminal. "
                   "pdf, svg, png: the table's figure.")  # fmt: skip
@click.option("--output", "given_output", default=None, help="Write to this file, or one page of all to this folder.")
@click.option("--data-root", type=click.Path(path_type=Path, file_okay=False, exists=True), default=None,
              help="Where the videos are, for the pictures of a page.")  # fmt: skip
@click.option("--published/--no-published", default=True, show_default=True, help="Quote published numbers beside.")
@click.option("--published-file", "published_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Quote the rows of a file of your own beside; never ranked with runs. May be repeated.")  # fmt: skip
@click.option("--baseline", default="", metavar="METHOD",
              help="Show the difference from this method beside each number.")  # fmt: skip
@click.option("--spread", type=OneOf(["std", "interval", "none"]), default=None,
              help="Beside each number: the standard deviation over seeds, the 95 % interval, or nothing.  "
                   "[default: std]")  # fmt: skip
@click.option("--no-spread", "spread", flag_value="none", help="The same as --spread none.")
@click.option("--x", metavar="NAME", default="",
              help="Of --table tradeoff: what stands along x, a metric or a cost, e.g. training_memory.")  # fmt: skip
@click.option("--y", metavar="NAME", default="", help="Of --table tradeoff: what stands along y, e.g. harmonic_mean.")
@click.option("--conditions", metavar="WORDS", default="",
              help="Of --table tradeoff: only costs that were measured so, e.g. 'batch 32, bf16'.")  # fmt: skip
@click.option("--over", metavar="OPTION", default="",
              help="Of --table frontier: the option along which the curves run, e.g. lora.rank.  "
                   "[default: training.learning_rate]")  # fmt: skip
@click.option("--standalone", is_flag=True, help="LaTeX: a document that compiles as it is, not a fragment to \\input.")
@click.option("--document", type=OneOf(get_args(DocumentKind)), default=None,
              help="LaTeX: what the fragment is for (width, text size).  [default: two-column]")  # fmt: skip
@click.option("--caption", default=None, metavar="TEXT", help="LaTeX: the caption, as plain text.")
@click.option("--label", default=None, metavar="NAME", help="LaTeX: the label for \\ref, by default tab:TABLE.")
@click.option("--layout", "layout_file", default=None, metavar="NAME|FILE.toml",
              help="Rows, columns, names and decimals: a layout that ships (petl-bench list layouts), or a file; "
                   "other flags win over it.")  # fmt: skip
@click.option("--statistics/--no-statistics", default=None,
              help="Intervals and paired tests from the predictions; by default with up to "
                   f"{MANY_TRIALS:,} trials.")  # fmt: skip
@click.option("--provenance/--no-provenance", default=None,
              help="Print how the numbers were made below a table; by default unless on a terminal.")  # fmt: skip
@click.option("--explain", nargs=3, metavar="TABLE ROW COLUMN",
              help="The records, commands and files behind one cell, e.g. "
                   '--explain base2novel msta "motion HM".')  # fmt: skip
@plugin_option
def command(
    folders: tuple[Path, ...],
    name: str | None,
    everything: bool,
    output_format: str | None,
    given_output: str | None,
    data_root: Path | None,
    published: bool,
    published_files: tuple[Path, ...],
    baseline: str,
    spread: Spread | None,
    x: str,
    y: str,
    conditions: str,
    over: str,
    standalone: bool,
    document: DocumentKind | None,
    caption: str | None,
    label: str | None,
    layout_file: str | None,
    statistics: bool | None,
    provenance: bool | None,
    explain: tuple[str, str, str] | None,
) -> None:
    """Turn the records of finished trials into a table: mean and spread over seeds, and where each number is from.

    \b
    petl-bench report --runs runs --table base2novel --output table.tex
    petl-bench report --runs runs --table base2novel --layout cvpr --output table2.tex
    petl-bench report --runs runs --table base2novel --format latex --document slides
    petl-bench report --runs runs --table tradeoff --output figure.pdf
    petl-bench report --runs runs --table tradeoff --x train_step_ms --output figure.pdf
    petl-bench report --runs runs --table frontier --over lora.rank --output figure.pdf
    petl-bench report --runs runs --output site/     every table, plot and clip as one page
    petl-bench report --runs runs --all --output results
    """
    output = None if given_output is None else Path(given_output)
    if output is not None:
        _refuse_runs(output, name)
    latex = _latex_options(standalone, document, caption, label)
    if everything:
        output = folder_for_all(name or (explain and explain[0]), output_format, output)
    ledger = read_own(published_files, published=published) if published_files else ()
    if x or y or conditions:
        _refuse_axes(None if everything else name or (explain and explain[0]))
    if over:
        _refuse_over(None if everything else name or (explain and explain[0]))
    if everything or (not explain and is_page(output_format, given_output)):
        assert output is not None
        refuse_layout(layout_file)
        spread = spread or "std"
        if latex is not None:
            raise UsageError(f"the page and --all write every table: {_LATEX_FLAGS} are for a single one")
        with without_garbage_collection():
            evidence = gather(folders, statistics=statistics, baseline=baseline)
            evidence = replace(evidence, ledger=ledger, axes=(x, y), conditions=conditions, over=over)
            if everything:
                write_all(evidence, output, published=published, spread=spread)
            write_page(evidence, folders, output, table=name, published=published, spread=spread, data_root=data_root)
            tell_unplaced(evidence)
        return
    name = _table_name(name, explain)
    source = TABLES.get(name)()
    refuse_unless_shown(ledger, source)
    chosen = output_format or ("terminal" if output is None else format_of(output))
    if latex is not None and chosen != "latex":
        raise UsageError(f"{_LATEX_FLAGS} are for LaTeX: add --format latex, or --output FILE.tex")
    layout = read_layout_of(layout_file, chosen, explain=explain is not None)
    if chosen in FIGURE_FORMATS:
        refuse_without_figure(source, chosen, output)
    with without_garbage_collection():
        from petl_bench.records.frame import frame  # here: `--help` needs no pandas

        quoted = source.published() if published else None
        if source.needs_records:
            evidence = gather(folders, statistics=statistics, baseline=baseline, quoted=quoted)
            evidence = replace(evidence, ledger=ledger, axes=(x, y), conditions=conditions, over=over)
        elif source.reads_records:
            evidence = gather_if_any(folders, quoted)
        else:
            evidence = Evidence(frame([]), quoted)
        if chosen in FIGURE_FORMATS:
            write_figure(source, evidence, chosen, output)
            return
        table = replace(source.build(evidence), spread=spread or "std")
    if explain:
        for line in explained(table, explain[1], explain[2], folders):
            click.echo(line)
        return
    if layout is not None:
        table = laid_out(table, layout, spread, chosen)
        latex = latex_of(layout, latex, document) if chosen == "latex" else None
    _write(table, chosen, output, latex, provenance)
    tell_unplaced(evidence, source)
    _say_what_is_missing(table, folders)


def _refuse_runs(output: Path, name: str | None) -> None:
    """Raise UsageError if the output is a folder of runs: it was meant to be read, or is no place for a report."""
    if not (output / "trials").is_dir():
        return
    read = ["petl-bench", "report", "--runs", str(output)]
    command = [*read, "--table", name] if name else [*read, "--output", f"{output / 'report'}/"]
    raise UsageError(
        f"--output {output}: a folder of runs, which is read and not written into. Type: {shlex.join(command)}"
    )


def _refuse_axes(name: str | None) -> None:
    """Raise UsageError if a table has no axes to choose, or if none is named."""
    if name is None or not TABLES.get(name).has_axes:
        said = "the page and --all choose their own" if name is None else f"the table {name} has none to choose"
        raise UsageError(f"--x, --y and --conditions: {said}. Type: --table {' or '.join(_tables_with('has_axes'))}")


def _refuse_over(name: str | None) -> None:
    """Raise UsageError if a table has no option to choose, or if none is named."""
    if name is None or not TABLES.get(name).has_option:
        said = "the page and --all choose their own" if name is None else f"the table {name} has no option to choose"
        raise UsageError(f"--over: {said}. Type: --table {' or '.join(_tables_with('has_option'))}")


def _tables_with(ability: str) -> list[str]:
    return [each for each in TABLES.names() if each not in TABLES.broken() and getattr(TABLES.get(each), ability)]


def _table_name(name: str | None, explain: tuple[str, str, str] | None) -> str:
    if explain and name not in (None, explain[0]):
        raise UsageError(f"--explain names the table {explain[0]}, --table another one: {name}")
    chosen = explain[0] if explain else name
    if chosen is None:
        raise UsageError(
            "--table TABLE is missing: say which table (petl-bench list tables), or --output FOLDER/ for a page of all"
        )
    return chosen


def _latex_options(
    standalone: bool, document: DocumentKind | None, caption: str | None, label: str | None
) -> LatexOptions | None:
    """What was chosen of LaTeX; None if nothing was."""
    if not standalone and document is caption is label is None:
        return None
    if standalone and document is not None:
        raise UsageError("--standalone has a page of its own: leave out --document")
    return LatexOptions(standalone=standalone, caption=caption, label=label, document=document or "two-column")


def _write(
    table: Table, output_format: str, output: Path | None, latex: LatexOptions | None, provenance: bool | None
) -> None:
    if output_format == "latex":
        from petl_bench.render.latex import remarks

        for remark in remarks(table, latex):
            tell(remark)
    if output is not None:
        write_atomically(output, render(table, output_format, latex).encode())
        click.echo(f"wrote {output} ({output_format})", err=True)
        if output_format == "latex":
            behind = output.with_suffix(PROVENANCE_SUFFIX)
            write_atomically(behind, render_provenance(table).encode())
            click.echo(f"wrote {behind}", err=True)
    elif output_format == "terminal":
        from rich.console import Console

        from petl_bench.render.terminal import show

        console = Console(highlight=False)
        show(table, console, with_provenance=not console.is_terminal if provenance is None else provenance)
    else:
        click.echo(render(table, output_format, latex), nl=False)


def _say_what_is_missing(table: Table, folders: tuple[Path, ...]) -> None:
    if not table.commands:
        return
    to = "" if folders[0] == Path("runs") else f" --output {shlex.quote(str(folders[0]))}"
    click.echo("To fill what is missing:", err=True)
    for line in table.commands[:_SHOWN]:
        click.echo(f"  {clean(line + to if is_command(line) else line)}", err=True)
    if len(table.commands) > _SHOWN:
        click.echo(f"  ... and {len(table.commands) - _SHOWN} more", err=True)

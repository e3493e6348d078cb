"""`petl-bench describe`: have a language model describe the classes of a data set, for the consistency constraint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.values.flag_lists import join_list
from petl_bench.cli.choices import OneOf
from petl_bench.errors import UsageError
from petl_bench.system.commands import run_command

if TYPE_CHECKING:
    from petl_bench.api.dataset import Dataset
    from petl_bench.describing.endpoint import ChatEndpoint
    from petl_bench.describing.generation import Work

#: One exit status per ending, as everywhere in petl-bench.
ALL_DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130
#: Classes without an answer that are named; a second call asks for all of them.
SHOWN = 5
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command(name="describe")
@click.option("--dataset", "name", required=True, metavar="D", help="Data set (petl-bench list datasets), or NAME=DIR.")
@click.option("--data-root", metavar="DIR", type=click.Path(path_type=Path), help="Folder with its lists.")
@click.option(
    "--kind", required=True, type=OneOf(["spatial", "temporal"]), help="What it looks like, or how it goes on."
)
@click.option("--count", required=True, type=click.IntRange(1, 32), metavar="N", help="Sentences per class.")
@click.option(
    "--endpoint", required=True, metavar="URL", help="An OpenAI-compatible one, e.g. https://api.openai.com/v1."
)
@click.option("--model", required=True, metavar="NAME", help="The model's name at the endpoint.")
@click.option(
    "--output",
    default="descriptions",
    metavar="DIR",
    type=click.Path(path_type=Path),
    show_default=True,
    help="Where the file goes.",
)
@click.option(
    "--concurrency",
    default=4,
    type=click.IntRange(1, 64),
    metavar="N",
    show_default=True,
    help="Questions at the same time.",
)
@click.option(
    "--timeout",
    default=60.0,
    type=click.FloatRange(0.1, 3600),
    metavar="S",
    show_default=True,
    help="Seconds for one answer.",
)
@click.option(
    "--attempts",
    default=5,
    type=click.IntRange(1, 20),
    metavar="N",
    show_default=True,
    help="Questions for one class until it is left out.",
)
@click.option(
    "--key-variable",
    default="OPENAI_API_KEY",
    metavar="NAME",
    show_default=True,
    help="Environment variable with the key.",
)
@click.option(
    "--backbone", default="viclip-b16", metavar="B", show_default=True, help="Its text context limits the sentences."
)
@click.option("--set", "texts", multiple=True, metavar="NAME.FIELD=VALUE", help="A field of the data set. Repeatable.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py", help="A plugin file to load. Repeatable.")
def command(
    name: str,
    data_root: Path | None,
    kind: str,
    count: int,
    endpoint: str,
    model: str,
    output: Path,
    concurrency: int,
    timeout: float,
    attempts: int,
    key_variable: str,
    backbone: str,
    texts: tuple[str, ...],
    plugins: tuple[str, ...],
) -> int:
    """Ask a language model for N sentences per class, check them, and write one file in the published format.

    Answers are kept as they come: type the same command again to ask only for what is missing. Beside the file stands
    what it was made from. The key is never written anywhere.

    Example: petl-bench describe --dataset ucf101 --data-root /data/UCF-101 --kind spatial --count 2
    --endpoint https://api.openai.com/v1 --model gpt-4o-mini
    """
    from petl_bench.api.registry import BACKBONES
    from petl_bench.cli.data.options import chosen_dataset
    from petl_bench.data.lists.description_files import published_name, published_order
    from petl_bench.describing.endpoint import ChatEndpoint, endpoint_url
    from petl_bench.describing.generation import DescriptionRequest, finish, resume
    from petl_bench.running.planning.hub_data import local_root

    url, key = endpoint_url(endpoint), _key(key_variable)
    dataset = chosen_dataset(name, texts, plugins)
    classes = dataset.annotations(dataset.root(local_root(data_root))).classes
    context = BACKBONES.get(backbone).config.context_length
    if not classes:
        raise UsageError(f"{dataset.name} has captions and no classes: there are no classes to describe")
    order = tuple(published_order(dataset, classes))
    request = DescriptionRequest(dataset.name, kind, count, order, model, url.netloc.decode(), context)
    work = resume(request, _folder(output) / published_name(dataset, kind, count))
    if work.missing:
        _notes(work, key, key_variable, url.scheme == "http" and url.host not in LOOPBACK)
        if not _ask(work, ChatEndpoint(url, model, key, timeout), attempts, concurrency):
            return INTERRUPTED
    if work.failed:
        _tell_failed(work)
        return SOME_FAILED
    finish(work)
    _tell_done(work, dataset, ["--datasets", join_list([name]), *_data_flags(data_root, texts, plugins)])
    return ALL_DONE


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"${variable} holds characters that no key has; its content is not shown here")
    return key


def _folder(output: Path) -> Path:
    folder = output.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    return folder


def _notes(work: Work, key: str, variable: str, in_the_open: bool) -> None:
    host, classes = work.request.host, len(work.request.classes)
    _tell(f"{len(work.missing)} of {classes} classes to ask {host} about, kept in {work.partial}")
    if not key:
        _tell(f"note: ${variable} is not set; asking without a key")
    elif in_the_open:
        _tell(f"warning: http:// sends the key to {host} unencrypted")


def _ask(work: Work, endpoint: ChatEndpoint, attempts: int, concurrency: int) -> bool:
    """Ask for what is missing, with a progress bar on a terminal; False if it was interrupted."""
    import asyncio

    from rich.console import Console
    from rich.progress import Progress

    from petl_bench.describing.generation import ask_for_missing
    from petl_bench.models.tokenizer import token_lengths

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("describing classes", total=len(work.missing))

        async def run() -> None:
            async with endpoint:
                await ask_for_missing(
                    work, endpoint, token_lengths, attempts, concurrency, lambda: progress.advance(task)
                )

        try:
            asyncio.run(run())
        except KeyboardInterrupt:
            progress.stop()
            kept = f"{len(work.answers)} of {len(work.request.classes)} classes are kept"
            _tell(f"interrupted; {kept} in {work.partial}. Type the same command again to go on")
            return False
    return True


def _tell_failed(work: Work) -> None:
    _tell(f"{len(work.failed)} of {len(work.request.classes)} classes have no usable answer:")
    for name, reason in list(work.failed.items())[:SHOWN]:
        _tell(f"  {name}: {reason}")
    _tell(f"the others are kept in {work.partial}; type the same command again to ask for these")


def _data_flags(data_root: Path | None, texts: Sequence[str], plugins: Sequence[str]) -> Iterator[str]:
    """What else says which data set it was, as `petl-bench run` takes it."""
    if data_root is not None:
        yield from ("--data-root", str(data_root))
    for flag, values in (("--set", texts), ("--plugin", plugins)):
        for value in values:
            yield from (flag, value)


def _tell_done(work: Work, dataset: Dataset, data_flags: Sequence[str]) -> None:
    from petl_bench.data.lists.description_files import published_name

    # In the order of the classes: answers came in any order.
    silent = [name for name in work.request.classes if work.answers[name].get("class_mentioned") is False]
    if silent:
        _tell(
            f"note: {len(silent)} of {len(work.answers)} classes are not named in their sentences, e.g. {silent[0]!r}"
        )
    _tell(f"{work.file} (made from: {work.provenance.name})")
    kind, count = work.request.kind, work.request.count
    other = "temporal" if kind == "spatial" else "spatial"
    values = [f"msta.descriptions_per_class={count}"]
    if (work.file.parent / published_name(dataset, other, count)).is_file():
        values.append(f"msta.descriptions={work.file.parent}")
    else:
        values += [f"msta.descriptions={work.file}", f"msta.description_kinds={kind}"]
    flags = [part for value in values for part in ("--set", value)]
    click.echo(run_command(["--methods", "msta", *data_flags, *flags]))


def _tell(line: str) -> None:
    click.echo(line, err=True)

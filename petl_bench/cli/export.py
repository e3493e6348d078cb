"""`petl-bench export`: the adapter of a trial in the format of another library, or its video tower for any program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.values.flag_lists import split_list
from petl_bench.cli.adapters import subject_of
from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import plugin_option, runs_option, tell
from petl_bench.errors import UsageError
from petl_bench.system.texts import shortened

if TYPE_CHECKING:
    from petl_bench.inference.subject import Subject

TOWER_FORMATS = ("torch-export", "onnx")
FORMATS = ("peft", *TOWER_FORMATS)
#: Bytes of a file of class names.
_LONGEST_LIST = 1 << 22


@click.command(name="export")
@click.option("--adapter", required=True, metavar="TRIAL|FILE", help="A finished trial of --runs: its key, the "
              "beginning of it, or its title. torch-export and onnx: an adapter file, too.")  # fmt: skip
@runs_option
@click.option("--format", "output_format", required=True, type=OneOf(FORMATS),
              help="peft: a folder of Hugging Face PEFT. torch-export, onnx: a file with the video tower.")  # fmt: skip
@click.option("--output", required=True, metavar="FILE|DIR", type=click.Path(path_type=Path),
              help="Is made; not replaced.")  # fmt: skip
@click.option("--classes", metavar="A,B,C|FILE", help="torch-export, onnx: the classes of the probabilities, or a file "
              "with one on each line.  [those of the trial]")  # fmt: skip
@click.option("--check-on", "videos", multiple=True, type=click.Path(path_type=Path), metavar="VIDEO",
              help="torch-export, onnx: compare on its frames, too, not on random ones alone. Repeatable.")  # fmt: skip
@click.option("--weights", metavar="W", help="torch-export, onnx: where the backbone's weights are.")
@plugin_option
def command(
    adapter: str,
    runs: Path,
    output_format: str,
    output: Path,
    classes: str | None,
    videos: tuple[Path, ...],
    weights: str | None,
) -> None:
    """Write the adapter of a finished trial for another library or program.

    peft: `adapter_config.json` and `adapter_model.safetensors` for Hugging Face PEFT. An adapter of a CLIP backbone
    loads on a transformers.CLIPModel, one of a ViCLIP on petl_bench.DualEncoder, each with the weights that it was
    trained on. PEFT itself is not needed. Methods: lora, dora.

    torch-export, onnx: the video tower with its method, weights included, in one file that needs no petl-bench: from
    preprocessed frames to features, and to the probabilities of classes. It is compared with the model first.

    Example: petl-bench export --adapter 1a2b3c4d --format peft --output my_adapter
    """
    if output_format in TOWER_FORMATS:
        _write_tower(subject_of(adapter, runs, weights), output_format, output, classes, videos)
        return
    if classes is not None or videos or weights is not None:
        raise UsageError("--classes, --check-on and --weights are for --format torch-export and onnx")
    from petl_bench.managing.adapter_export import write_peft_folder
    from petl_bench.managing.lookup import find_trial, titles

    known = titles(runs)
    key = find_trial(known, adapter, runs)
    hosts = write_peft_folder(runs, key, output)
    tell(f"wrote {known[key]} to {output}; peft.PeftModel.from_pretrained loads it on a {hosts}")


def _write_tower(
    subject: Subject, output_format: str, output: Path, classes: str | None, videos: tuple[Path, ...]
) -> None:
    from petl_bench.managing.tower_export import write_tower

    written = write_tower(
        subject, output, output_format, classes=() if classes is None else _class_names(classes), videos=videos
    )
    for note in written.notes:
        tell(note)
    listed = ", ".join(f"{name} {difference:.1e}" for name, difference in written.differences.items())
    tell(f"wrote the video tower of {subject.title} to {output}; largest difference from the model: {listed}")


def _class_names(text: str) -> tuple[str, ...]:
    """The names in a comma list, or on the lines of a file. Raises UsageError for none, or a name that comes twice."""
    file = Path(text)
    try:
        in_file = file.is_file()
        if in_file and file.stat().st_size > _LONGEST_LIST:
            raise UsageError(f"--classes {text}: too large for a list of class names")
        found = file.read_text(encoding="utf-8").splitlines() if in_file else split_list(text, "--classes")
    except (OSError, ValueError) as error:
        raise UsageError(f"--classes {shortened(text, 100)}: cannot be read: {error}") from error
    names = tuple(name.strip() for name in found if name.strip())
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--classes {shortened(text, 100)}: {'a name comes twice' if names else 'names no class'}")
    return names

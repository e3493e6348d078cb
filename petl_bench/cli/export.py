"""`petl-bench export`: the adapter of a trial for others: one file, a whole model, or another library's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from petl_bench.cli.adapters import adapter_option, place_of, subject_of
from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import plugin_option, runs_option, tell
from petl_bench.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What is exported, and where to."""

    adapter: str
    runs: Path
    weights: str | None
    output: Path
    merge: bool = False
    classes: str | None = None
    check_on: tuple[Path, ...] = ()

    def place(self) -> Path:
        """The file or folder that `--adapter` means."""
        return place_of(self.adapter, self.runs)


def _safetensors(asked: Asked) -> None:
    from petl_bench.sharing.adapter_file import adapter_file, merged_file, write_new_file

    if asked.output.suffix != ".safetensors":
        raise UsageError(f"--output {asked.output}: a file of safetensors; call it FILE.safetensors")
    exported = (merged_file if asked.merge else adapter_file)(asked.place(), asked.weights)
    for note in exported.notes:
        tell(note)
    if write_new_file(asked.output, exported.content):
        tell(f"wrote {exported.title} to {asked.output}")
    else:
        tell(f"{asked.output} is there already with the same content: {exported.title}")


def _peft(asked: Asked) -> None:
    from petl_bench.managing.lookup import find_trial, titles
    from petl_bench.sharing.peft_export import write_peft_folder

    known = titles(asked.runs)
    key = find_trial(known, asked.adapter, asked.runs)
    hosts = write_peft_folder(asked.runs, key, asked.output)
    tell(f"wrote {known[key]} to {asked.output}; peft.PeftModel.from_pretrained loads it on a {hosts}")


def _tower(asked: Asked, output_format: str) -> None:
    from petl_bench.inference.videos import classes_of
    from petl_bench.sharing.tower_export import write_tower

    subject = subject_of(asked.adapter, asked.runs, asked.weights)
    classes = () if asked.classes is None else classes_of(asked.classes)
    written = write_tower(subject, asked.output, output_format, classes=classes, videos=asked.check_on)
    for note in written.notes:
        tell(note)
    listed = ", ".join(f"{name} {difference:.1e}" for name, difference in written.differences.items())
    tell(f"wrote the video tower of {subject.title} to {asked.output}; largest difference from the model: {listed}")


#: Format -> what writes it.
FORMATS: dict[str, Callable[[Asked], None]] = {
    "safetensors": _safetensors,
    "peft": _peft,
    "torch-export": partial(_tower, output_format="torch-export"),
    "onnx": partial(_tower, output_format="onnx"),
}
#: The ending of `--output` that says a format.
_SUFFIXES = {".safetensors": "safetensors", ".pt2": "torch-export", ".onnx": "onnx"}
#: The options that only some formats have.
_ONLY = {
    "merge": ("safetensors",),
    "classes": ("torch-export", "onnx"),
    "check_on": ("torch-export", "onnx"),
    "weights": ("safetensors", "torch-export", "onnx"),
}


@click.command(name="export")
@adapter_option(required=True)
@runs_option
@click.option("--format", "output_format", type=OneOf(list(FORMATS)),
              help="safetensors: one file; peft: a folder of Hugging Face PEFT; torch-export, onnx: the video tower.  "
              "[by --output's ending]")  # fmt: skip
@click.option("--merge", is_flag=True, help="The whole model, with the adapter in its weights.")
@click.option("--output", required=True, metavar="FILE|DIR", type=click.Path(path_type=Path),
              help="Is made; not replaced.")  # fmt: skip
@click.option("--classes", metavar="A,B,C|FILE", help="torch-export, onnx: the classes of the probabilities, or a file "
              "with one in every line.  [those of the trial]")  # fmt: skip
@click.option("--check-on", multiple=True, type=click.Path(path_type=Path), metavar="VIDEO",
              help="torch-export, onnx: compare on its frames, too, not on random ones alone. Repeatable.")  # fmt: skip
@click.option("--weights", metavar="W", help="Where the weights are that it was trained on, if they are not found.")
@plugin_option
def command(
    adapter: str,
    runs: Path,
    output_format: str | None,
    merge: bool,
    output: Path,
    classes: str | None,
    check_on: tuple[Path, ...],
    weights: str | None,
) -> None:
    """Write the adapter of a finished trial for others.

    safetensors: one file that --adapter and `petl-bench import` read, with how to use it and what its record says; no
    paths, names of machines or clips are in it. With --merge the whole model under its published keys, for methods
    whose adapter can be folded into the weights.

    peft: `adapter_config.json` and `adapter_model.safetensors` for Hugging Face PEFT. An adapter of a CLIP backbone
    loads on a transformers.CLIPModel, one of a ViCLIP on petl_bench.DualEncoder, each with the weights that it was
    trained on. PEFT itself is not needed. Methods: lora, dora.

    torch-export, onnx: the video tower with its method, weights included, in one file that needs no petl-bench: from
    preprocessed frames to features, and to the probabilities of classes. It is compared with the model first.

    Example: petl-bench export --adapter 1a2b3c4d --output my_adapter.safetensors
    """
    named = output_format or _SUFFIXES.get(output.suffix)
    if named is None:
        raise UsageError(f"--output {output}: its ending says no format; type --format {'|'.join(FORMATS)}")
    asked = Asked(adapter, runs, weights, output, merge, classes, check_on)
    for option, formats in _ONLY.items():
        if getattr(asked, option) and named not in formats:
            raise UsageError(f"--{option.replace('_', '-')} is for --format {' or '.join(formats)}, not for {named}")
    FORMATS[named](asked)

"""`petl-bench export`: the adapter of a trial in the format of another library."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import plugin_option, runs_option, tell

FORMATS = ("peft",)


@click.command(name="export")
@click.option("--adapter", required=True, metavar="TRIAL", help="Key of a finished trial, its beginning, or its title.")
@runs_option
@click.option(
    "--format", "output_format", required=True, type=OneOf(FORMATS), help="peft: a folder of Hugging Face PEFT."
)
@click.option("--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Is made; not replaced.")
@plugin_option
def command(adapter: str, runs: Path, output_format: str, output: Path) -> None:
    """Write the adapter of a finished trial for another library.

    peft: `adapter_config.json` and `adapter_model.safetensors` for Hugging Face PEFT. An adapter of a CLIP backbone
    loads on a transformers.CLIPModel, one of a ViCLIP on petl_bench.DualEncoder, each with the weights that it was
    trained on. PEFT itself is not needed. Methods: lora, dora.

    Example: petl-bench export --adapter 1a2b3c4d --format peft --output my_adapter
    """
    from petl_bench.managing.adapter_export import write_peft_folder
    from petl_bench.managing.lookup import find_trial, titles

    known = titles(runs)
    key = find_trial(known, adapter, runs)
    hosts = write_peft_folder(runs, key, output)
    tell(f"wrote {known[key]} to {output}; peft.PeftModel.from_pretrained loads it on a {hosts}")

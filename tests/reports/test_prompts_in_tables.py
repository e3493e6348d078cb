"""Runs with other prompts are other cases: never averaged, told apart in readable labels, and named below the table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tables import table_of
from test_renderers import compiled

from petl_bench.api.registry import DATASETS
from petl_bench.api.table import Table
from petl_bench.render import latex, markdown
from petl_bench.render.options import LatexOptions

Store = Any
UCF101 = {"dataset": "ucf101", "manifest_sha256": "c" * 64}
MANY = "|".join(f"number {n}, a video of {{}}." for n in range(16))


def _groups(table: Table) -> list[str]:
    return [group for group in dict.fromkeys(column.group for column in table.columns) if group != "Trained"]


def test_runs_with_other_prompts_are_not_averaged(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "lora", 0, as_planned=True, **UCF101)
    store(70.0, 50.0, "lora", 1, dataset_options={"template": "a photo of {}."}, as_planned=True, **UCF101)
    store(60.0, 40.0, "lora", 1, dataset_options={"prompt_text": "cleaned"}, as_planned=True, **UCF101)
    store(50.0, 30.0, "zero_shot", 0, hyper_parameters={}, as_planned=True, **UCF101)
    table = table_of(runs, "base2novel")
    columns = [f"{column.group}: {column.label}" for column in table.columns]
    (row,) = [row for group in table.groups for row in group.rows if row.label == "lora"]
    shown = {column: (cell.value, cell.n) for column, cell in zip(columns, row.cells, strict=True)}
    assert shown["ucf101: Base"] == (80.0, 1)
    assert shown["ucf101 (template=a photo of {}.): Base"] == (70.0, 1)
    assert shown["ucf101 (prompt_text=cleaned): Base"] == (60.0, 1)
    assert any("UCF-101 (template a photo of {}.)" in note for note in table.footers)
    (command,) = [each for each in table.commands if "ucf101.template" in each]
    assert "ucf101.template=a photo of {}." in shlex.split(command)


def test_an_ensemble_has_a_short_label_and_compiles(store: Store, runs: Path, tmp_path: Path) -> None:
    data = DATASETS.get("ucf101")
    for template in ("a photo of {}.|{}", MANY, MANY + "|{}"):
        options = data(template=template).values()
        store(80.0, 60.0, "lora", dataset_options=options, **UCF101)
    table = table_of(runs, "base2novel")
    labels = _groups(table)
    assert len(set(labels)) == 3 and max(map(len, labels)) < 90
    assert "ucf101 (template=a photo of {}.|{})" in labels
    assert r"a photo of \{\}.\|\{\}" in markdown.render(table), "a bar would end the cell"
    compiled(tmp_path, latex.render(table, LatexOptions(standalone=True)))


def test_other_frames_of_the_evaluation_are_said_below_the_table(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "lora", training={"eval_resize": "squash", "view_sampling": "middle"}, **UCF101)
    (note,) = [each for each in table_of(runs, "base2novel").footers if each.startswith("Evaluated")]
    assert "1 x 1; frames: the middle of each segment; whole frames, resized to the model's square. Split" in note
    store(70.0, 60.0, "adaptformer", **UCF101)
    (note,) = [each for each in table_of(runs, "base2novel").footers if each.startswith("Evaluated")]
    assert "resized to the model's square in some rows" in note

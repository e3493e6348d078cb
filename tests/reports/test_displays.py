"""Names for readers: of rows, cases and variants; distinct where labels are; LaTeX forms from plugins alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import notes_of, table_of

from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.labels import case_displays, case_labels, row_displays, row_labels, values_in_words
from petl_bench.api.method import Method
from petl_bench.api.registry import METHODS
from petl_bench.errors import PluginError
from petl_bench.render import latex

Store = Callable[..., Path]


def row(method: str, hyper: dict[str, Any], **values: Any) -> Configuration:
    fields: dict[str, Any] = {
        "training": "{}",
        "method_version": "1",
        "backbone": "viclip-tiny",
        "weights": "packaged",
        "weights_sha256": "b" * 64,
        "decoder": "auto",
        "engine_version": 1,
        "source_sha256": "",
        "other_views": "",
        "descriptions": "",
        "backbone_version": "",
        "backbone_options": "{}",
    }
    return Configuration(method=method, hyper_parameters=json.dumps(hyper), **{**fields, **values})


def case(dataset: str, **values: Any) -> ComparedCase:
    fields: dict[str, Any] = {
        "split": "1",
        "shots": 16,
        "setting": "few_shot",
        "setting_version": "1",
        "setting_options": "{}",
        "dataset_version": "1",
        "dataset_options": "{}",
        "manifest_sha256": "a" * 64,
        "part": "",
        "selected": "",
        "dataset_plugin": "",
    }
    return ComparedCase(dataset=dataset, **{**fields, **values})


@pytest.fixture
def named() -> Iterator[Callable[..., str]]:
    """Register a method with these attributes of its class until the test ends; its name."""
    made: list[str] = []

    def register(name: str, **body: Any) -> str:
        METHODS.register(name)(type("Mine", (METHODS.get("lora"),), {"__module__": "tests.displays", **body}))
        made.append(name)
        return name

    yield register
    for name in made:
        del METHODS._registered[name]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([row("lora", {"rank": 8})], ["LoRA"]),
        ([row("lora", {"rank": rank}) for rank in (4, 16)], ["LoRA (rank 4)", "LoRA (rank 16)"]),
        ([row("lora", {"rslora": on}) for on in (False, True)], ["LoRA (no rslora)", "LoRA (rslora)"]),
        (
            [row("lora", {}, training=json.dumps({"epochs": count, "learning_rate": 3e-4})) for count in (1, 30)],
            ["LoRA (1 epoch)", "LoRA (30 epochs)"],
        ),
        ([row("lora", {}, engine_version=number) for number in (1, 2)], ["LoRA (engine 1)", "LoRA (engine 2)"]),
        (
            [row("msta", {"consistency_weight": weight}) for weight in (0.0, 1.0, 5.0)],
            ["MSTA", "MSTA + L_CC (consistency weight 1)", "MSTA + L_CC (consistency weight 5)"],
        ),
        ([row("msta", {"consistency_weight": weight}) for weight in (0.0, 1.0)], ["MSTA", "MSTA + L_CC"]),
        (
            [row("msta", {"consistency_weight": 1.0, "towers": towers}) for towers in ("both", "video", "text")],
            ["MSTA + L_CC", "MSTA of the video tower", "MSTA of the text tower + L_CC"],
        ),
        (
            [row("msta", {"consistency_weight": weight, "scale": 0.1 + weight}) for weight in (0.0, 1.0)],
            ["MSTA (scale 0.1)", "MSTA + L_CC (scale 1.1)"],
        ),
        (
            [
                row("msta", {"consistency_weight": weight}, training=json.dumps({"epochs": 10 + int(weight)}))
                for weight in (0.0, 1.0)
            ],
            ["MSTA (10 epochs)", "MSTA + L_CC (11 epochs)"],
        ),
        (
            [row("msta", {"consistency_weight": float(bool(texts))}, descriptions=texts) for texts in ("", "f" * 64)],
            ["MSTA", "MSTA + L_CC"],
        ),
        (
            [row("msta+lora", {"msta.consistency_weight": 1.0, "lora.rank": rank}) for rank in (4, 8)],
            ["MSTA + L_CC + LoRA (LoRA rank 4)", "MSTA + L_CC + LoRA (LoRA rank 8)"],
        ),
        ([row("peft:OFT", {}), row("not_here", {})], ["OFT (PEFT)", "not_here"]),
    ],
)
def test_rows_are_named_by_what_differs(rows: list[Configuration], shown: list[str]) -> None:
    assert list(row_displays(rows).values()) == shown


def test_options_are_said_in_words() -> None:
    options = {"descriptions_per_class": 4, "num_frames": 8, "split": "2", "shots": "all", "depth": None, "part": ""}
    assert values_in_words(options) == "4 descriptions per class, 8 frames, split 2, all shots, depth none"


def test_cases_are_named_as_papers_name_data_sets() -> None:
    cases = [case("hmdb51"), case("hmdb51", shots=0), case("kitchen", dataset_plugin="folder")]
    assert list(case_displays(cases).values()) == ["HMDB-51 (16 shots)", "HMDB-51 (all shots)", "kitchen"]


def test_names_that_clash_give_way_to_labels(named: Callable[..., str]) -> None:
    rows = [row("lora", {}), row(named("own:copy", display="LoRA"), {}), row("dora", {})]
    assert list(row_displays(rows).values()) == ["lora", "own:copy", "DoRA"]
    named("LoRA", display="lora")
    assert list(row_displays([*rows, row("LoRA", {})]).values()) == ["lora", "own:copy", "dora", "LoRA"]
    folder = case("HMDB-51", dataset_plugin="folder")
    assert list(case_displays([case("hmdb51"), folder]).values()) == ["hmdb51", "HMDB-51"]


VALUES = st.one_of(st.booleans(), st.none(), st.integers(0, 2), st.floats(0, 2), st.sampled_from(["all", "none", "1"]))
HYPER = st.dictionaries(st.sampled_from(["shared", "no_shared", "layers", "layer", "num_layers", "scale"]), VALUES)
ROWS = st.lists(st.tuples(st.sampled_from(["lora", "msta", "LoRA", "lora+msta"]), HYPER), min_size=1, max_size=6)


@given(ROWS)
def test_rows_are_shown_alike_only_if_their_labels_are(given_rows: list[tuple[str, dict[str, Any]]]) -> None:
    rows = [row(method, hyper) for method, hyper in given_rows]
    labels, displays = row_labels(rows), row_displays(rows)
    assert len(set(displays.values())) >= len(set(labels.values()))


@given(st.lists(st.tuples(st.sampled_from(["hmdb51", "HMDB-51", "k400"]), HYPER, st.integers(0, 2)), min_size=1))
def test_cases_are_shown_alike_only_if_their_labels_are(found: list[tuple[str, dict[str, Any], int]]) -> None:
    cases = [case(name, dataset_options=json.dumps(options), shots=shots) for name, options, shots in found]
    assert len(set(case_displays(cases).values())) >= len(set(case_labels(cases).values()))


# What a plugin may say


def test_a_failing_name_of_a_variant_is_told_in_one_line(named: Callable[..., str]) -> None:
    named("own:failing", display_of=classmethod(lambda cls, values: values["gone"]))
    named("own:number", display_of=classmethod(lambda cls, values: 3))
    with pytest.raises(PluginError, match=r"own:failing\.display_of\(\) fails: KeyError"):
        row_displays([row("own:failing", {})])
    with pytest.raises(PluginError, match=r"own:number\.display_of\(\) returned int; it must return a text"):
        row_displays([row("own:number", {})])


@pytest.mark.parametrize(
    "latex_forms",
    [
        {"a": "b"},
        (("", "x"),),
        ((" ", "x"),),
        (("a", "ü"),),
        (("a", 3),),
        (("a", "b", "c"),),
        ("a",),
        ("ab",),
        (pair for pair in [("a", "b")]),
        3,
        *[(("a", form),) for form in ("$x", r"$x\$", "{x", "50%", "a & b", "#1", "x\\")],
    ],
)
def test_forms_of_latex_are_checked_if_the_class_is_declared(latex_forms: Any) -> None:
    with pytest.raises(PluginError, match=r"Mine\.latex = .*expected pairs"):
        type("Mine", (Method,), {"latex": latex_forms})


def test_forms_of_latex_may_have_what_is_escaped_and_closed() -> None:
    forms = (("x", r"50\% \& \$1 {\bf x}"), ["y", r"$\mathcal{L}_{CC}$"])
    assert type("Mine", (Method,), {"latex": forms}).latex == forms


def test_a_very_long_name_is_told_in_a_short_line() -> None:
    with pytest.raises(PluginError, match=r"Mine\.display = 'x{59}: .*up to 40 letters") as told:
        type("Mine", (Method,), {"display": "x" * 1_000})
    assert len(str(told.value)) < 250


def test_notes_tell_methods_of_one_name_apart(named: Callable[..., str], store: Store, runs: Path) -> None:
    named("own:copy", display="LoRA")
    for method, epochs in (("lora", 10), ("own:copy", 20)):
        store(80.0, 60.0, method, training={"epochs": epochs})
    notes = notes_of(table_of(runs, "base2novel"))
    assert "epochs lora 10, own:copy 20;" in notes
    assert "Configurations tried in these records: lora 1, own:copy 1." in notes


def test_notes_tell_data_sets_of_one_name_apart(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "lora", dataset="hmdb51")
    store(80.0, 60.0, "lora", dataset="HMDB-51", dataset_plugin="folder", training={"views": 10, "crops": 3})
    notes = notes_of(table_of(runs, "base2novel"))
    assert "views per test video (clips x crops): 10 x 3 on HMDB-51, 1 x 1 on hmdb51." in notes


def test_latex_forms_are_those_of_plugins_and_all_else_is_escaped(store: Store, runs: Path) -> None:
    for weight, scale in ((0.0, "x"), (1.0, r"\input{x} $y$"), (1.0, "L_CC")):
        store(80.0, 60.0, "msta", hyper_parameters={"consistency_weight": weight, "scale": scale})
    text = latex.render(table_of(runs, "base2novel"))
    rows = [line.partition(" &")[0] for line in text.splitlines() if line.startswith((r"MSTA", r"\raggedright"))]
    assert sorted(each.replace(r"\allowbreak ", "").replace(r"\raggedright\hangindent=1em ", "") for each in rows) == [
        "MSTA (scale x)",
        r"MSTA + $\mathcal{L}_{CC}$ (scale $\mathcal{L}_{CC}$)",
        r"MSTA + $\mathcal{L}_{CC}$ (scale \textbackslash{}input\{x\} \$y\$)",
    ]


def test_a_table_shows_names_for_readers_and_its_commands_registered_ones(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "msta", 0)
    store(80.0, 60.0, "msta", 1)
    store(70.0, 50.0, "full_finetune", 0)
    table = table_of(runs, "base2novel")
    shown = [(each.label, each.display, each.facts[0]) for group in table.groups for each in group.rows]
    assert shown == [
        ("msta", "MSTA", ("method", "msta")),
        ("full_finetune", "Full fine-tuning", ("method", "full_finetune")),
    ]
    assert {group.title for group in table.groups} == {"Run here: ViCLIP-Tiny, packaged weights"}
    assert {column.full_display for column in table.columns} >= {"Motion Base", "Motion Novel", "Motion HM"}
    assert "Seeds 0 only: Full fine-tuning on Motion." in notes_of(table)
    assert any("full_finetune on motion" in command for command in table.commands)

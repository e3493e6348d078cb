"""`peft:TYPE`: PEFT's own numbers on the backbone's linears, its fields without importing it, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import petl_bench as pb
from petl_bench import testing
from petl_bench.api.composition import compose
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import METHODS, named
from petl_bench.methods import _peft_configs, peft_bridge
from petl_bench.methods._peft_types import LEFT_OUT, REFUSED, TUNERS
from petl_bench.running.planning.spec import read_spec
from petl_bench.running.planning.values import Overrides
from petl_bench.testing.method_subject import perturb, trainable
from petl_bench.testing.methods import CHECKS

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.slow

TYPES = peft_bridge.PeftFamily().members()
#: For these, every check; for the others, those that find what a tuner can do wrong.
IN_FULL = ("LORA", "OFT")
ESSENTIAL = (
    "fits a small model",
    "attaching changes no weight",
    "documented",
    "identity at start",
    "gradients reach every parameter",
    "saved adapter equals trained",
    "merged equals unmerged",
    "batch changes nothing",
    "global state is left alone",
)


@pytest.mark.parametrize("peft_type", TYPES)
def test_checks(peft_type: str) -> None:
    found = testing.checks(f"peft:{peft_type}")
    assert len(found) == len(CHECKS)
    chosen = [check for check in found if peft_type in IN_FULL or check.name in ESSENTIAL]
    failed = {each.name: each.why for each in testing.run(chosen) if each.status == "fail"}
    assert failed == {}


@pytest.mark.parametrize("peft_type", [name for name, tuner in TUNERS.items() if tuner.fails])
def test_what_is_not_run_fails_as_listed(peft_type: str) -> None:
    found = testing.checks(peft_bridge._method_of(peft_type))
    results = [check.result() for check in found if check.name in TUNERS[peft_type].fails]
    assert [each.status for each in results] == ["fail"] * len(TUNERS[peft_type].fails)
    with pytest.raises(pb.UsageError, match="cannot be used: it fails the check"):
        METHODS.get(f"peft:{peft_type}")


@pytest.mark.parametrize("peft_type", [name for name in TYPES if name not in IN_FULL])
def test_the_count_is_that_of_what_is_attached(peft_type: str, small: pb.DualEncoder) -> None:
    method = pb.create_method(f"peft:{peft_type}", **TUNERS[peft_type].small)
    method.attach(small)
    assert method.expected_trainable(small.config) == sum(each.numel() for each in trainable(small).values())


# The fields


def test_every_installed_type_is_known() -> None:
    assert _peft_configs.installed_types().keys() == {*TUNERS, *REFUSED}
    assert {each.value for each in peft.PeftType} >= {*TUNERS, *REFUSED}


@pytest.mark.parametrize("peft_type", TYPES)
def test_fields_and_defaults_are_those_of_peft(peft_type: str) -> None:
    config = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]
    theirs = {field.name: field for field in dataclasses.fields(config)}
    method = METHODS.get(f"peft:{peft_type}")
    ours = {field.name: field.default for field in dataclasses.fields(method)}
    tuner = TUNERS[peft_type]
    for name in ours.keys() - {"targets", "towers"}:
        assert ours[name] == tuner.defaults.get(name, theirs[name].default), name
    left = theirs.keys() - ours.keys()
    unsaid = {name for name in left if name not in LEFT_OUT}
    assert all("dict" in str(theirs[name].type) or "Config" in str(theirs[name].type) for name in unsaid), unsaid
    assert all(name in (method.__doc__ or "") for name in peft_bridge._not_offered(peft_type))


def test_pages_and_plans_know_the_fields_without_torch_and_peft() -> None:
    script = (
        "import sys\n"
        "from petl_bench.cli import cli\n"
        "for words in (['list', 'methods'], ['show', 'peft'], ['show', 'peft:OFT']):\n"
        "    cli(words, standalone_mode=False)\n"
        "print('loaded:', [name for name in ('torch', 'peft', 'transformers') if name in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in told
    assert "peft:TYPE" in told and "LN_TUNING: it trains norms" in told and "oft_block_size = 32" in told


def test_the_page_lists_every_type_with_what_is_known() -> None:
    page = (Path(__file__).parents[2] / "docs" / "peft.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith(("| `", "| [`"))}
    assert rows.keys() == {*TUNERS, *REFUSED}
    for name in TYPES:
        tuner = TUNERS[name]
        reasons = [reason for values in tuner.refused.values() for reason in values.values()]
        assert all(words in rows[name] for words in (tuner.meaning, tuner.note, *reasons, *tuner.known.values()))
        assert f"| {', '.join(tuner.targets)} | {'yes' if tuner.identity else 'no'} |" in rows[name]
        assert tuner.mergeable, "the page says that all are"
    assert all(why in rows[name] for name, why in peft_bridge._refused().items())


def test_a_family_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from petl_bench.cli.list_ import _families

    broken = EntryPoint("odd", "no_such_module:Odd", "petl_bench.method_families")
    monkeypatch.setattr(METHODS, "_family_entries", {"odd": broken})
    with pytest.raises(pb.PluginError, match="the family 'odd'"):
        METHODS.get("odd:thing")
    assert _families(METHODS)["odd:"].startswith("BROKEN: the family 'odd'")


def test_values_in_a_spec_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        'methods = ["peft:OFT", "lora+peft:IA3"]\nsetting = "base2novel"\n'
        '[set."peft:OFT"]\nr = 4\ncoft = true\n[set."lora+peft:IA3"]\n"peft:IA3.targets" = ["k"]\n'
    )
    overrides = Overrides(read_spec({}, file))
    assert overrides.of_method(METHODS.get("peft:OFT"), "peft:OFT") == {"r": 4, "coft": True}
    composed = METHODS.get("lora+peft:IA3")
    assert overrides.of_method(composed, composed.name) == {"peft:IA3.targets": ("k",)}


def test_members_are_in_no_list_of_names() -> None:
    assert not any(name.startswith("peft") for name in METHODS.names())
    assert "peft:OFT" in METHODS and METHODS.get("peft:OFT") is METHODS.get("peft:OFT")


def test_the_version_of_peft_enters_keys() -> None:
    assert plugin_version(METHODS.get("peft:OFT")) == f"1+peft {peft.__version__}"
    composed = compose("peft:IA3+text_adapter", METHODS.get)
    assert f"peft:IA3 1+peft {peft.__version__}" in plugin_version(composed)
    assert composed.decided_by == ("peft",)
    assert plugin_version(METHODS.get("lora")) == "1"


# The numbers

COMPARED: list[tuple[str, dict[str, Any]]] = [
    ("LORA", {"r": 4}),
    ("LORA", {"r": 4, "use_dora": True, "use_rslora": True}),
    ("OFT", {"oft_block_size": 16}),
    ("LOHA", {"r": 4}),
    ("VERA", {"r": 8}),
    ("HRA", {"r": 4}),
]


@pytest.mark.parametrize(("peft_type", "values"), COMPARED)
def test_outputs_are_those_of_pefts_own_model(peft_type: str, values: dict[str, Any], small: pb.DualEncoder) -> None:
    linears = {f"{b.tower}{b.index}.{target}": getattr(b.attention, target) for b in small.blocks() for target in "qv"}
    theirs = nn.ModuleDict()
    for name, site in linears.items():
        block, _, target = name.partition(".")
        if block not in theirs:
            theirs[block] = nn.ModuleDict()
        copied = nn.Linear(site.base.in_features, site.base.out_features)
        copied.load_state_dict(site.base.state_dict())
        theirs[block][target] = copied  # type: ignore[operator]
    config = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft_type](target_modules=["q", "v"], **values)
    model = peft.get_peft_model(_Model(theirs), config)
    pb.create_method(f"peft:{peft_type}", **values).attach(small)
    perturb(small)
    for name, site in linears.items():
        their_layer = model.base_model.model.linears.get_submodule(name)
        state = {key: value for key, value in site.replacement.state_dict().items() if "base_layer" not in key}
        assert not their_layer.load_state_dict(state, strict=False).unexpected_keys
        x = torch.randn(2, 5, site.base.in_features)
        assert torch.equal(site(x), their_layer.eval()(x)), name
    assert sum(each.numel() for each in trainable(small).values()) == model.get_nb_trainable_parameters()[0]


class _Model(nn.Module):
    def __init__(self, linears: nn.ModuleDict) -> None:
        super().__init__()
        self.linears = linears

    def forward(self, x: Any) -> Any:
        return x


def test_the_backbones_weights_are_shared_and_merged_back(small: pb.DualEncoder, frames: torch.Tensor) -> None:
    method = pb.create_method("peft:LORA", targets=("fc", "proj"), towers="video")
    method.attach(small)
    perturb(small)
    site = small.blocks("video")[0].feedforward.fc
    weight = site.base.weight
    assert site.replacement.get_base_layer().weight is weight and not weight.requires_grad
    adapted = small.encode_video(frames)
    method.merge(small)
    torch.testing.assert_close(small.encode_video(frames), adapted, atol=1e-4, rtol=1e-4)
    assert site.replacement is None and site.base.weight is weight


def test_counts_on_b16() -> None:
    config = pb.ViCLIPConfig()
    assert pb.create_method("peft:LORA", r=16).expected_trainable(config) == 2 * 16 * 2 * 12 * (768 + 512)
    assert pb.create_method("peft:VERA").expected_trainable(config) == 43_008
    assert pb.create_method("peft:LORA", use_dora=True).expected_trainable(config) == 522_240
    assert pb.create_method("peft:OFT").expected_trainable(config) == 2 * 12 * (768 + 512) // 32 * (32 * 31 // 2)
    ia3 = pb.create_method("peft:IA3").expected_trainable(config)
    assert ia3 == 92_160
    assert pb.create_method("peft:SHIRA", r=2).expected_trainable(config) == 2 * 2 * 2 * 12 * (768 + 512)


def test_goes_together_with_other_methods() -> None:
    from petl_bench.testing.harness import bound, random_model
    from petl_bench.testing.method_subject import SMALL

    method = bound(pb.create_method("lora+peft:IA3", **{"lora.targets": ("q",)}))
    model = random_model(SMALL)
    method.attach(model)
    assert method.expected_trainable(SMALL) == sum(each.numel() for each in trainable(model).values())


# What is refused


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("peft", "peft is a family of methods: write peft:TYPE, e.g. peft:LORA"),
        ("peft:lora", "did you mean LORA?"),
        ("peft:OFFT", "unknown type of PEFT's 'OFFT'; did you mean OFT"),
        ("pfet:OFT", "did you mean peft"),
        ("peft:PROMPT_TUNING", "cannot be used: it puts trained tokens in front"),
        ("peft:LN_TUNING", "use the method ln_tuning"),
        ("peft:ADALORA", "update_and_allocate"),
    ],
)
def test_types_that_are_refused(name: str, words: str) -> None:
    with pytest.raises(pb.UsageError) as caught:
        METHODS.get(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "texts", "words"),
    [
        ("OFT", {"rr": "4"}, "unknown field of peft:OFT 'rr'; did you mean r"),
        ("OFT", {"r": "a"}, "peft:OFT.r=a: expected a whole number"),
        ("LORA", {"targets": "w"}, "expected one of q, k, v, out, fc, proj"),
        ("LORA", {"targets": "q,q"}, "each once"),
        ("LORA", {"target_modules": "q"}, "say which linears with peft:TYPE.targets"),
        ("LORA", {"inference_mode": "true"}, "petl-bench sets it"),
        ("LORA", {"eva_config": "1"}, "its value is no number, text or list"),
        ("LORA", {"init_lora_weights": "pissa"}, "it changes the backbone's frozen weights"),
        ("LORA", {"r": "0"}, "PEFT refuses these values"),
        ("SHIRA", {"random_seed": "none"}, "peft:SHIRA.random_seed=none cannot be used"),
        ("PVERA", {"sample_at_inference": "true"}, "another one each time"),
        ("HRA", {"r": "3"}, "r is odd"),
        ("HRA", {"apply_GS": "true"}, "not finite"),
        ("OFT", {"oft_block_size": "7"}, "Invalid `oft_block_size` (7)"),
        ("C3A", {"block_size": "7"}, "block size should be a factor of the input size"),
        ("BOFT", {"boft_n_butterfly_factor": "2"}, "only if its CUDA kernel compiles"),
        ("PVERA", {"generator_seed": "1"}, "the trial's seed draws the noise"),
        ("TINYLORA", {"init_weights": "false"}, "peft:TINYLORA.init_weights=false cannot be used: PEFT leaves"),
        ("IA3", {"targets": "q,v"}, "--set peft:IA3.feedforward_modules=none"),
        ("OFT", {"r": "4", "oft_block_size": "16"}, "r=4 and oft_block_size=16: PEFT takes one of both"),
        ("LOHA", {"module_dropout": "1"}, "peft:LOHA.module_dropout=1.0: expected at least 0, and less than 1"),
        ("LORA", {"lora_dropout": "-0.1"}, "expected at least 0, and less than 1"),
        ("LORA", {"lora_alpha": "0"}, "trains nothing with these values: no parameter gets a gradient. See"),
        ("GRALORA", {"alpha": "0"}, "trains nothing"),
        ("PEANUT", {"scaling": "0"}, "trains nothing"),
        ("DELORA", {"delora_lambda": "0"}, "trains nothing"),
        ("OFT", {"num_cayley_neumann_terms": "1"}, "trains nothing"),
        ("PSOFT", {"psoft_alpha": "0"}, "not finite"),
        ("VBLORA", {"topk": "300", "num_vectors": "256"}, "selected index k out of range. See"),
        ("ROAD", {"variant": "road_3"}, "expected one of road_1, road_2, road_4"),
    ],
)
def test_values_that_are_refused(name: str, texts: dict[str, str], words: str) -> None:
    plugin = METHODS.get(f"peft:{name}")
    with pytest.raises(pb.UsageError) as caught:
        plugin(**plugin.parse(texts)).expected_trainable(pb.ViCLIPConfig())
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 and ".." not in str(caught.value)


def test_ia3_without_a_linear_of_the_feedforward_network() -> None:
    plugin = METHODS.get("peft:IA3")
    method = plugin(**plugin.parse({"targets": "q,v", "feedforward_modules": "none"}))
    assert method.expected_trainable(pb.ViCLIPConfig()) == 2 * 12 * (768 + 512)


def test_what_torch_says_of_its_own_code_is_cut() -> None:
    method = pb.create_method("peft:LORA")
    told = str(method._refusal("refuses", "no such size. Exception raised from f at file.cpp:3\nframe #0"))
    assert told == "peft:LORA: PEFT refuses these values: no such size. See: petl-bench show peft:LORA"
    assert len(str(method._refusal("refuses", "long " * 1000))) < 400


def test_switches_and_choices_of_one_field_can_be_said() -> None:
    plugin = METHODS.get("peft:LORA")
    assert plugin.parse({"init_lora_weights": "false"}) == {"init_lora_weights": False}
    assert plugin.parse({"init_lora_weights": "gaussian"}) == {"init_lora_weights": "gaussian"}


def test_one_of_two_sizes_replaces_the_other() -> None:
    assert pb.create_method("peft:OFT", r=4).values()["oft_block_size"] == 0
    assert pb.create_method("peft:OFT").values()["oft_block_size"] == 32


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_peft_configs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(pb.PluginError, match=r"pip install 'petl-bench\[peft\]'"):
        METHODS.get("peft:OFT")


def test_a_record_is_read_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from petl_bench.analysis.marks import is_untuned

    assert is_untuned("peft:OFT", "base2novel", "viclip-tiny", 3e-3)
    monkeypatch.setattr(_peft_configs.importlib.util, "find_spec", lambda name: None)
    assert not is_untuned("peft:OFT", "base2novel", "viclip-tiny", 3e-3)


def test_rates_in_retrieval_are_those_of_lora_for_five_epochs() -> None:
    lora, peft = (
        {
            recipe.backbone: dict(recipe.training)
            for recipe in METHODS.get(name).recipes
            if recipe.setting == "retrieval" and recipe.backbone
        }
        for name in ("lora", "peft:LOHA")
    )
    assert peft == lora == {name: {"learning_rate": 1e-3, "epochs": 5} for name in ("viclip-tiny", "clip-tiny")}


@pytest.mark.parametrize("name", ["loha", "LoHa"])
def test_a_type_without_its_family_is_suggested(name: str) -> None:
    with pytest.raises(pb.UsageError, match="did you mean peft:LOHA"):
        METHODS.get(name)
    with pytest.raises(pb.UsageError, match="did you mean peft:LOHA"):
        named(name)

"""Adapters in the format of Hugging Face PEFT compute there what they compute here, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.models.peft_names import named_linears
from petl_bench.testing.method_subject import perturb

SIZES: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 4,
    "embed_dim": 32,
    "vision_width": 64,
    "vision_layers": 2,
    "vision_heads": 4,
    "context_length": 16,
    "vocab_size": 64,
    "text_width": 48,
    "text_layers": 3,
    "text_heads": 4,
}
VICLIP, CLIP = pb.ViCLIPConfig(**SIZES), pb.CLIPConfig(**SIZES)
ADAPTED = [
    ("lora", {}),
    ("lora", {"rank": 3, "alpha": 5.5, "targets": ("k", "out", "proj"), "towers": "video"}),
    ("lora", {"targets": ("q", "fc"), "towers": "text"}),
    ("dora", {"rank": 4, "targets": ("v", "fc")}),
]


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def texts() -> Tensor:
    """Three texts of six tokens; the end-of-text id is 63."""
    ids = torch.randint(1, 62, (3, 6), generator=torch.Generator().manual_seed(2))
    ids[:, -1] = 63
    return ids


def plain(config: pb.ViCLIPConfig) -> pb.DualEncoder:
    """The same model every time."""
    torch.manual_seed(0)
    return pb.DualEncoder(config).eval()


def adapted(config: pb.ViCLIPConfig, name: str = "lora", **values: Any) -> pb.DualEncoder:
    """The model with an adapter away from its start."""
    model = plain(config)
    pb.create_method(name, **values).attach(model)
    perturb(model)
    return model


@torch.no_grad()
def features(model: Any, clips: Tensor, texts: Tensor) -> Tensor:
    return torch.cat([model.encode_video(clips), model.encode_text(texts)])


@torch.no_grad()
def of_transformers(model: Any, clips: Tensor, texts: Tensor) -> Tensor:
    """The same of a `transformers.CLIPModel`."""
    found = [model.get_image_features(pixel_values=clips[:, 0]), model.get_text_features(input_ids=texts)]
    return torch.cat([getattr(each, "pooler_output", each) for each in found])


def clip_of_transformers(model: pb.DualEncoder) -> nn.Module:
    """A `transformers.CLIPModel` with the weights of a CLIP of ours."""
    transformers = pytest.importorskip("transformers")

    def tower(width: int, layers: int) -> dict[str, int]:
        heads = {"num_hidden_layers": layers, "num_attention_heads": 4, "projection_dim": 32}
        return {"hidden_size": width, "intermediate_size": 4 * width, **heads}

    vision = {**tower(64, 2), "image_size": 32, "patch_size": CLIP.patch_size}
    words = {**tower(48, 3), "vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 63}
    config = transformers.CLIPConfig(vision_config=vision, text_config=words, projection_dim=32)
    theirs = transformers.CLIPModel(config).eval()
    own = dict(model.named_parameters())
    state = {
        "logit_scale": own["temperature"],
        "visual_projection.weight": own["video.projection"].T,
        "text_projection.weight": own["text.projection"].T,
        "vision_model.embeddings.class_embedding": own["video.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": own["video.patch_weight"],
        "vision_model.embeddings.position_embedding.weight": own["video.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": own["text.token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": own["text.positional_embedding"],
    }
    norms = {
        "vision_model.pre_layrnorm": "video.norm_pre",
        "vision_model.post_layernorm": "video.norm_post",
        "text_model.final_layer_norm": "text.norm_final",
    }
    linears = {}
    for linear in named_linears(CLIP):
        linears[linear.peft] = f"{linear.site}.base"
        block, layer = linear.site.split(".attention")[0].split(".feedforward")[0], linear.peft.split(".self_attn")[0]
        layer = layer.split(".mlp")[0]
        norms |= {
            f"{layer}.layer_norm1": f"{block}.attention.norm",
            f"{layer}.layer_norm2": f"{block}.feedforward.norm",
        }
    for name, mine in (norms | linears).items():
        state |= {f"{name}.{part}": own[f"{mine}.{part}"] for part in ("weight", "bias")}
    left = theirs.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, strict=False)
    assert not left.unexpected_keys and not [name for name in left.missing_keys if "position_ids" not in name]
    return theirs


@pytest.mark.parametrize(("name", "values"), ADAPTED)
def test_a_viclip_is_loaded_by_peft_and_back(
    name: str, values: dict[str, Any], tmp_path: Path, clips: Tensor, texts: Tensor
) -> None:
    peft = pytest.importorskip("peft")
    model = adapted(VICLIP, name, **values)
    expected = features(model, clips, texts)
    assert not torch.allclose(expected, features(plain(VICLIP), clips, texts), atol=1e-2)
    pb.save_peft_adapter(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(plain(VICLIP), tmp_path / "ours").eval()
    torch.testing.assert_close(features(theirs.base_model.model, clips, texts), expected, atol=2e-6, rtol=1e-6)
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        again = plain(VICLIP)
        method = pb.load_peft_adapter(again, tmp_path / folder)
        assert torch.equal(features(again, clips, texts), expected)
        assert method.values() == again.method.values() == model.method.values()


@pytest.mark.parametrize(("name", "values"), ADAPTED)
def test_a_clip_is_loaded_by_peft_on_transformers_and_back(
    name: str, values: dict[str, Any], tmp_path: Path, clips: Tensor, texts: Tensor
) -> None:
    peft = pytest.importorskip("peft")
    model = adapted(CLIP, name, **values)
    base = clip_of_transformers(plain(CLIP))
    torch.testing.assert_close(
        of_transformers(base, clips, texts), features(plain(CLIP), clips, texts), atol=2e-6, rtol=1e-5
    )
    expected = features(model, clips, texts)
    pb.save_peft_adapter(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    torch.testing.assert_close(of_transformers(theirs, clips, texts), expected, atol=5e-6, rtol=1e-5)
    adapted_linears = {name.partition(".lora_A")[0] for name, _ in theirs.named_parameters() if "lora_A" in name}
    assert len(adapted_linears) == len(named_linears(CLIP, model.method.towers, model.method.targets))
    theirs.save_pretrained(tmp_path / "theirs")
    again = plain(CLIP)
    pb.load_peft_adapter(again, tmp_path / "theirs")
    assert torch.equal(features(again, clips, texts), expected)


def test_an_adapter_made_by_peft_computes_the_same_here(tmp_path: Path, clips: Tensor, texts: Tensor) -> None:
    """With names that PEFT matches by their ends, and a dropout, which the options keep."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=3, lora_dropout=0.25, target_modules=["q_proj", "fc2"])
    theirs = peft.get_peft_model(clip_of_transformers(plain(CLIP)), config).eval()
    perturb(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    model = plain(CLIP)
    method = pb.load_peft_adapter(model, tmp_path / "theirs")
    assert method.values() == {
        "rank": 2, "alpha": 3.0, "dropout": 0.25, "targets": ["q", "proj"], "towers": "both"
    }  # fmt: skip
    assert not model.training and not model.blocks()[0].attention.q.replacement.training
    torch.testing.assert_close(
        features(model, clips, texts), of_transformers(theirs, clips, texts), atol=5e-6, rtol=1e-5
    )


def test_rank_stabilised_scaling_is_kept(tmp_path: Path, clips: Tensor, texts: Tensor) -> None:
    peft = pytest.importorskip("peft")
    model = adapted(VICLIP, "lora", rslora=True)
    pb.save_peft_adapter(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(plain(VICLIP), tmp_path / "ours").eval()
    expected = features(model, clips, texts)
    torch.testing.assert_close(features(theirs.base_model.model, clips, texts), expected, atol=2e-6, rtol=1e-6)
    again = plain(VICLIP)
    assert pb.load_peft_adapter(again, tmp_path / "ours").values() == model.method.values()
    assert torch.equal(features(again, clips, texts), expected)


def test_equal_adapters_give_equal_bytes_and_no_folder_is_replaced(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pb.save_peft_adapter(adapted(CLIP), tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with pytest.raises(pb.UsageError, match="is there already, and is not replaced"):
        pb.save_peft_adapter(adapted(CLIP, rank=2), tmp_path / "a")
    with pytest.raises(pb.StoreError, match="cannot be made"):
        pb.save_peft_adapter(adapted(CLIP), tmp_path / "absent" / "a")


def test_only_what_peft_has_is_written(tmp_path: Path) -> None:
    model = plain(CLIP)
    with pytest.raises(pb.UsageError, match="nothing is attached"):
        pb.save_peft_adapter(model, tmp_path / "a")
    pb.create_method("bitfit").attach(model)
    with pytest.raises(pb.UsageError, match="bitfit has no form in PEFT's format; these have: dora, lora"):
        pb.save_peft_adapter(model, tmp_path / "a")
    merged = adapted(CLIP)
    merged.method.merge(merged)
    with pytest.raises(pb.WeightsError, match="not the tensors of lora"):
        pb.save_peft_adapter(merged, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_option_that_peft_lacks_is_refused_unless_it_is_at_its_default(tmp_path: Path) -> None:
    class Doubled(type(pb.create_method("lora"))):  # type: ignore[misc]
        """LoRA with options of its own."""

        twice: bool = pb.hyper(False, "changes what is computed")
        rate: float = pb.hyper(1.0, "changes how it is trained")
        peft_format = replace(type(pb.create_method("lora")).peft_format, training_only=("rate",))

    def written(name: str, **values: Any) -> None:
        model = plain(CLIP)
        Doubled(**values).attach(model)
        pb.save_peft_adapter(model, tmp_path / name)

    written("a", rate=2.0)
    with pytest.raises(pb.UsageError, match="twice=True has no form in PEFT's format"):
        written("b", twice=True)
    assert not (tmp_path / "b").exists()


def test_a_subclass_of_lora_has_no_form_unless_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora: Any = METHODS.get("lora")
    quiet = type("Quiet", (lora,), {"name": "aaa"})
    monkeypatch.setitem(METHODS._registered, "aaa", quiet)
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    assert pb.load_peft_adapter(plain(CLIP), tmp_path / "a").name == "lora"
    with pytest.raises(pb.UsageError, match="aaa has no form in PEFT's format; these have: dora, lora"):
        pb.save_peft_adapter(adapted(CLIP, "aaa"), tmp_path / "b")
    monkeypatch.setitem(
        METHODS._registered, "aaa", type("Loud", (lora,), {"name": "aaa", "peft_format": lora.peft_format})
    )
    refused(tmp_path / "a", 'the methods aaa and lora both claim peft_type = "LORA"')


def test_half_precision_is_read(tmp_path: Path) -> None:
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor.half() for name, tensor in tensors.items()}, path)
    model = plain(CLIP)
    pb.load_peft_adapter(model, tmp_path / "a")
    state = model.adapter_state()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    halves = sorted(float(tensor.half().float().sum()) for tensor in tensors.values())
    assert sorted(float(tensor.sum()) for tensor in state.values()) == pytest.approx(halves, rel=1e-5)


Change = Callable[[dict[str, Any]], Any]
FIELDS: list[tuple[Change, str]] = [
    (lambda c: c.update(peft_type="IA3"), r'peft_type = "IA3" is not supported; known: LORA \(dora\), LORA \(lora\)'),
    (lambda c: c.update(peft_type=["LORA"]), r"peft_type = \[\"LORA\"\] is not supported"),
    (lambda c: c.update(bias="lora_only"), 'bias = "lora_only" is not supported'),
    (lambda c: c.update(modules_to_save=["visual_projection"]), "modules_to_save = .* is not supported"),
    (lambda c: c.update(rank_pattern={"q_proj": 4}), "rank_pattern = .* is not supported"),
    (lambda c: c.update(alpha_pattern={"q_proj": 4}), "alpha_pattern = .* is not supported"),
    (lambda c: c.update(fan_in_fan_out=True), "fan_in_fan_out = true is not supported"),
    (lambda c: c.update(layer_replication=[[0, 2]]), "layer_replication = .* is not supported"),
    (lambda c: c.update(layers_to_transform=[0]), "layers_to_transform = .* is not supported"),
    (lambda c: c.update(layers_to_transform=0), "layers_to_transform = 0 is not supported"),
    (lambda c: c.update(init_lora_weights="pissa"), 'init_lora_weights = "pissa" is not supported'),
    (lambda c: c.update(lora_bias=True), "lora_bias = true is not supported"),
    (lambda c: c.update(of_a_later_version={"a": 1}), "of_a_later_version = .* is not supported"),
    (lambda c: c.update(of_a_later_version="x" * 10**5), "of_a_later_version = .* is not supported"),
    (lambda c: c.update(r=0), r"lora\.rank=0"),
    (lambda c: c.update(r="8"), 'r = "8": expected a number'),
    (lambda c: c.update(r=True), r"lora\.rank"),
    (lambda c: c.update(r=[8]), r"r = \[8\]: expected a number"),
    (lambda c: c.update(r=10**30), "r = 10+: expected a number of at most"),
    (lambda c: c.update(lora_dropout=2), r"lora\.dropout"),
    (lambda c: c.update(r=4), r"of another shape: .*lora_A\.weight"),
    (lambda c: c.pop("r"), "lacks r"),
    (lambda c: c.pop("target_modules"), "lacks target_modules"),
    (lambda c: c.update(target_modules=["q_proj"]), "target_modules and the tensors differ in 5 linears"),
    (lambda c: c.update(target_modules=None), "target_modules = null: expected names"),
    (lambda c: c.update(target_modules=[1]), r"target_modules = \[1\]: expected names"),
]


@pytest.mark.parametrize(("change", "message"), FIELDS)
def test_a_configuration_that_is_not_supported(change: Change, message: str, tmp_path: Path) -> None:
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    path = tmp_path / "a" / "adapter_config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    refused(tmp_path / "a", message)


def refused(folder: Path, message: str) -> None:
    """It is refused in one line, with the file, and the model stays as it was."""
    model = plain(CLIP)
    with pytest.raises(pb.PetlBenchError, match=message) as error:
        pb.load_peft_adapter(model, folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value) and len(str(error.value)) < 1000
    assert model.method is None and all(parameter.requires_grad for parameter in model.parameters())


def without(tensors: dict[str, Tensor]) -> None:
    tensors.pop("base_model.model.text_model.encoder.layers.1.self_attn.q_proj.lora_A.weight")


FIRST = "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
CONTENTS: list[tuple[Callable[[dict[str, Tensor]], Any], str]] = [
    (without, r"1 missing: .*layers\.1\.self_attn\.q_proj\.lora_A\.weight"),
    (lambda t: t.clear(), "none of its tensors"),
    (lambda t: t.update({"lm_head.lora_A.weight": torch.zeros(1)}), "1 of 21 tensors, the first 'lm_head.* no linear"),
    (lambda t: t.update({"a\x1b[31m\n": torch.zeros(1)}), "1 of 21 tensors"),
    (lambda t: t.update({FIRST: torch.zeros(8, 63)}), r"1 of another shape: .* \[8, 63\] instead of \[8, 64\]"),
    (lambda t: t.update({FIRST: torch.zeros(8, 2**20)}), "bytes, too many"),
    (lambda t: t.update({FIRST: torch.zeros(8, 64, dtype=torch.int64)}), "int64, not of a floating-point type"),
    (lambda t: t.update({FIRST: torch.full((8, 64), float("nan"))}), "is not finite"),
]


@pytest.mark.parametrize(("change", "message"), CONTENTS)
def test_tensors_that_do_not_fit(change: Callable[[dict[str, Tensor]], Any], message: str, tmp_path: Path) -> None:
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    refused(tmp_path / "a", message)


def test_an_adapter_of_the_other_kind_of_backbone(tmp_path: Path) -> None:
    pb.save_peft_adapter(adapted(VICLIP), tmp_path / "a")
    refused(tmp_path / "a", "belong to no linear of a block of a transformers.CLIPModel")


def test_folders_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path / "absent", r"adapter_config\.json: no such file")
    with pytest.raises(pb.UsageError, match=r"cannot be the name of a folder: embedded null byte"):
        pb.load_peft_adapter(plain(CLIP), "\0")
    (tmp_path / "adapter_config.json").write_text("[]")
    refused(tmp_path, "not a configuration of PEFT")
    (tmp_path / "adapter_config.json").write_text("{")
    refused(tmp_path, "damaged")
    (tmp_path / "adapter_config.json").write_text('{"a": "' + "x" * 2**20 + '"}')
    refused(tmp_path, "larger than")
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    refused(tmp_path / "a", "cannot be read")
    path.rename(path.with_name("adapter_model.bin"))
    refused(tmp_path / "a", "a pickle is not read")


def test_a_model_that_carries_a_method_is_refused(tmp_path: Path) -> None:
    pb.save_peft_adapter(adapted(CLIP), tmp_path / "a")
    with pytest.raises(pb.UsageError, match="already carries the method lora"):
        pb.load_peft_adapter(adapted(CLIP), tmp_path / "a")

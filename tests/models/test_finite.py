"""What is not finite is refused where it is loaded, in every type, with the file and the tensor named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.finite import not_finite, tensors_in
from tests.models.conftest import SMALL_VICLIP

NAN, INF = float("nan"), float("inf")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
KEY = "vision_encoder.transformer.resblocks.1.mlp.c_fc.weight"


def saved(folder: Path, state: dict[str, Tensor], suffix: str = ".pth") -> Path:
    path = folder / f"some{suffix}"
    if suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save({"model": state}, path)
    return path


def with_value(state: dict[str, Tensor], value: float, dtype: torch.dtype, key: str = KEY) -> dict[str, Tensor]:
    changed = state[key].clone()
    changed.view(-1)[7] = value
    return {**state, key: changed.to(dtype)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_nan_in_a_weights_file_is_refused_in_every_type(
    dtype: torch.dtype, suffix: str, tmp_path: Path, viclip_state: dict[str, Tensor]
) -> None:
    path = saved(tmp_path, with_value(viclip_state, NAN, dtype), suffix)
    with pytest.raises(
        pb.WeightsError, match=rf"some\{suffix}: {KEY} is not finite: 1 of its 16384.*fetch it"
    ) as error:
        pb.create_model(SMALL_VICLIP, weights=path)
    assert "\n" not in str(error.value)
    fine = saved(tmp_path, with_value(viclip_state, 0.5, dtype), suffix)
    pb.create_model(SMALL_VICLIP, weights=fine)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(INF, torch.float32), (-INF, torch.bfloat16), (1e300, torch.float64), (1e6, torch.float16)],
    ids=["inf", "minus inf", "beyond float32", "beyond float16"],
)
def test_infinity_is_refused_also_where_it_comes_of_the_type(
    value: float, dtype: torch.dtype, tmp_path: Path, viclip_state: dict[str, Tensor]
) -> None:
    doubles = {name: tensor.double() for name, tensor in viclip_state.items()}
    path = saved(tmp_path, with_value(doubles, value, dtype))
    with pytest.raises(pb.WeightsError, match=f"{KEY} is not finite"):
        pb.create_model(SMALL_VICLIP, weights=path)


def test_the_first_tensor_is_named_and_the_model_stays_as_it_was(
    viclip: DualEncoder, viclip_state: dict[str, Tensor]
) -> None:
    state = with_value(with_value(viclip_state, NAN, torch.float32), INF, torch.float32, "vision_encoder.proj")
    before = viclip.published_state_dict()
    with pytest.raises(pb.WeightsError, match=r"^vision_encoder\.proj is not finite"):
        viclip.load_published_state_dict(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in viclip.published_state_dict().items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("key", [KEY, "vision_encoder.proj", "temp"])
def test_what_holds_no_floating_point_numbers_is_refused(
    key: str, dtype: torch.dtype, tmp_path: Path, viclip_state: dict[str, Tensor]
) -> None:
    path = saved(tmp_path, {**viclip_state, key: viclip_state[key].to(dtype)})
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(pb.WeightsError, match=rf"some\.pth: {key} is of type {name}, not of a floating-point type"):
        pb.create_model(SMALL_VICLIP, weights=path)


def test_a_table_of_whole_numbers_is_not_cast_by_resizing(tmp_path: Path, viclip_state: dict[str, Tensor]) -> None:
    key = "vision_encoder.temporal_positional_embedding"
    path = saved(tmp_path, {**viclip_state, key: torch.zeros(1, 2, 64, dtype=torch.int32)})
    with pytest.raises(pb.WeightsError, match=f"of another shape: {key}"):
        pb.create_model(SMALL_VICLIP, weights=path)


def test_a_nan_is_found_behind_the_conversion_from_clip(tmp_path: Path, clip_golden: dict[str, Tensor]) -> None:
    clip = {name.removeprefix("sd."): value for name, value in clip_golden.items() if name.startswith("sd.")}
    clip["text_projection"] = clip["text_projection"].clone().fill_(NAN)
    config = SMALL_VICLIP.with_(
        context_length=16, vision_heads=1, text_width=64, text_heads=1, vision_layers=3, text_layers=3
    )
    with pytest.raises(pb.WeightsError, match=r"text_encoder\.text_projection is not finite"):
        pb.create_model(config, weights=saved(tmp_path, clip))


values = st.floats(width=32) | st.sampled_from([NAN, INF, -INF, 3.0e38, -3.0e38])


@given(st.lists(st.lists(values, min_size=0, max_size=5), max_size=4))
def test_it_finds_what_isfinite_finds(rows: list[list[float]]) -> None:
    tensors = {str(index): torch.tensor(row) for index, row in enumerate(rows)}
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    found = not_finite(tensors)
    assert found.startswith(f"{bad[0]} is not finite") if bad else found == ""


def test_whole_numbers_are_left_out_and_nested_tensors_are_found() -> None:
    nested = {"state": {0: {"step": torch.tensor(3), "moment": torch.tensor([1.0, NAN])}}, "rest": [torch.ones(2)]}
    assert not_finite(dict(tensors_in(nested))) == "state.0.moment is not finite: 1 of its 2 values are NaN or infinite"


class Normed(pb.Method):
    """A batch norm and a linear beside one block."""

    def attach(self, model: DualEncoder) -> None:
        model.blocks("video")[0].add_parallel(_Normed(64), scale=0.1)


class _Normed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("norm.weight", torch.full((64,), NAN), "is not finite: 64 of its 64"),
        ("norm.running_var", torch.full((64,), INF), "is not finite"),
        ("norm.weight", torch.full((64,), 1e300, dtype=torch.float64), "is not finite"),
        ("norm.bias", torch.ones(64, dtype=torch.int64), "is of type int64 instead of float32"),
        ("norm.num_batches_tracked", torch.tensor(2.5), "is of type float32 instead of int64"),
    ],
)
def test_an_adapter_with_a_bad_tensor_is_refused_and_changes_nothing(
    viclip: DualEncoder, name: str, bad: Tensor, words: str
) -> None:
    Normed().attach(viclip)
    before = viclip.adapter_state()
    with pytest.raises(pb.WeightsError, match=words):
        viclip.load_adapter_state({**before, f"video.blocks.0.parallel.0.module.{name}": bad})
    assert all(torch.equal(tensor, before[key]) for key, tensor in viclip.adapter_state().items())


def test_buffers_are_state_each_once_and_nothing_frozen(viclip: DualEncoder, viclip_state: dict[str, Tensor]) -> None:
    class Shared(pb.Method):
        """One module at two sites, with buffers of every kind."""

        def attach(self, model: DualEncoder) -> None:
            module = _Normed(64)
            module.register_buffer("passing", torch.ones(3), persistent=False)
            module.register_buffer("table", torch.arange(4.0).expand(2, 4).contiguous())
            module.register_buffer("again", module.table)
            for block in model.blocks("video")[:2]:
                block.add_parallel(module)
            frozen = model.blocks("video")[0].attention.q
            replacement = nn.Linear(64, 64)
            replacement.weight, replacement.bias = frozen.base.weight, frozen.base.bias
            replacement.register_buffer("of_the_base", frozen.base.weight.detach())
            frozen.replace(replacement)

    Shared().attach(viclip)
    prefix = "video.blocks.0.parallel.0.module."
    names = {
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "table",
    }  # fmt: skip
    state = viclip.adapter_state()
    assert set(state) == {prefix + name for name in names}
    other = DualEncoder(SMALL_VICLIP)
    other.load_published_state_dict(viclip_state)
    Shared().attach(other)
    other.load_adapter_state({**state, f"{prefix}norm.running_mean": torch.full((64,), 0.5)})
    both = [block.parallel[0].module.norm.running_mean for block in other.blocks("video")[:2]]
    assert all(torch.equal(tensor, torch.full((64,), 0.5)) for tensor in both)

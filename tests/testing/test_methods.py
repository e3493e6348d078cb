"""Every registered method passes the conformance checks, and each check catches the mistake it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.methods._targets import sites_of
from petl_bench.testing.checks import CheckResult
from petl_bench.testing.methods import CHECKS

pytestmark = pytest.mark.slow

PAPER = pb.Paper(title="t", venue="v", url="https://example.org", bibtex="@misc{t}", licence="MIT")


@pytest.mark.parametrize("name", METHODS.names())
def test_every_registered_method_conforms(name: str) -> None:
    results = pb.testing.check_plugin(f"methods:{name}")
    assert len(results) == len(CHECKS) == 37
    assert sum(result.status == "pass" for result in results) >= 12


class Good(pb.Method):
    """A bottleneck beside every attention branch."""

    paper = PAPER
    dim: int = pb.hyper(8, "channels", minimum=1)

    def adapter(self, width: int) -> nn.Module:
        return pb.Bottleneck(width, self.dim)

    def attach(self, model: Any) -> None:
        for block in model.blocks():
            block.attention.add_parallel(self.adapter(block.width))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return sum((2 * width + 1) * self.dim + width for width in config.block_widths())


def failures(method: type[pb.Method]) -> dict[str, str]:
    return {result.name: result.why for result in results_of(method) if result.status == "fail"}


def why(method: type[pb.Method], name: str) -> str:
    """What one check says: the reason of its failure, "" if it passes."""
    (check,) = [check for check in pb.testing.checks(method) if check.name == name]
    result = check.result()
    return result.why if result.status == "fail" else ""


def results_of(method: type[pb.Method]) -> list[CheckResult]:
    return pb.testing.run(pb.testing.checks(method))


def test_a_method_for_retrieval_alone_conforms() -> None:
    class Retrieval(Good):
        """The same, for retrieval alone."""

        tasks = ("retrieval",)

    assert not failures(Retrieval)


def test_a_sound_method_has_no_failure() -> None:
    assert failures(Good) == {}


def test_a_space_that_changes_the_number_of_trained_parameters() -> None:
    class Sized(Good):
        """A method."""

        space: ClassVar = {"dim": pb.Choice((4, 8))}

    said = why(Sized, "space can be tuned")
    assert said.startswith("space, dim=4: ") and "parameters train" in said
    assert "petl-bench tune --space Sized.dim=... tunes it" in said


def test_a_space_at_whose_end_numbers_are_not_finite() -> None:
    class Scaled(Good):
        """A method."""

        scale: float = pb.hyper(1.0, "of the output")
        space: ClassVar = {"scale": pb.Range(1.0, 1e38)}

        def attach(self, model: Any) -> None:
            for block in model.blocks():
                block.attention.add_parallel(self.adapter(block.width), scale=self.scale)

    assert "space, scale=1e+38: " in why(Scaled, "space can be tuned")
    assert "not finite" in why(Scaled, "space can be tuned")


def test_undocumented_hyper_parameter() -> None:
    class Undocumented(Good):
        """A method."""

        other: int = pb.hyper(1, "")

    assert why(Undocumented, "documented").startswith("other: no meaning")


def test_missing_paper() -> None:
    class NoPaper(Good):
        """A method."""

        paper = None

    assert "pb.Paper" in why(NoPaper, "paper")


def test_output_that_is_not_the_identity_at_start() -> None:
    class Moved(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            adapter = pb.Bottleneck(width, self.dim)
            nn.init.normal_(adapter.up.weight)
            return adapter

    assert set(failures(Moved)) == {"identity at start"}


def test_wrong_formula_in_one_choice_only() -> None:
    class WrongForText(Good):
        """A method."""

        towers: pb.Towers = pb.hyper("video", "towers")

        def attach(self, model: Any) -> None:
            for block in model.blocks(self.towers):
                block.attention.add_parallel(self.adapter(block.width))

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            widths = config.block_widths("video" if self.towers == "video" else "both")
            return sum((2 * width + 1) * self.dim + width for width in widths)

    assert "with {'towers': 'text'}" in why(WrongForText, "formula equals count")


def test_frozen_weights_that_change_in_training() -> None:
    class Counter(nn.Module):
        def __init__(self, adapter: nn.Module) -> None:
            super().__init__()
            self.adapter = adapter
            self.calls = nn.Parameter(torch.zeros(()), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls += 1
            return self.adapter(x)

    class Counting(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            return Counter(pb.Bottleneck(width, self.dim))

    assert "calls changed in training" in why(Counting, "only declared parameters train")


def test_parameter_that_gets_no_gradient() -> None:
    class Dead(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            adapter = pb.Bottleneck(width, self.dim)
            adapter.unused = nn.Parameter(torch.zeros(width))
            return adapter

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            return super().expected_trainable(config) + sum(config.block_widths())

    assert "unused gets no gradient" in why(Dead, "gradients reach every parameter")


def test_state_outside_the_trained_parameters() -> None:
    class Keeps(nn.Module):
        def __init__(self, adapter: nn.Module) -> None:
            super().__init__()
            self.adapter = adapter
            self.projection = torch.randn(())  # random, trained by nobody, saved by nobody

        def forward(self, x: Tensor) -> Tensor:
            return self.adapter(x) * self.projection

    class Forgets(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            torch.seed()
            return Keeps(pb.Bottleneck(width, self.dim))

    assert why(Forgets, "saved adapter equals trained")


def test_merge_that_changes_the_features() -> None:
    class ForgetsScale(METHODS.get("lora")):
        """A method."""

        def merge(self, model: Any) -> None:
            for site in sites_of(model, self.towers, self.targets):
                site.restore()

    assert "differ after merge()" in why(ForgetsScale, "merged equals unmerged")


def test_merge_that_leaves_something_behind() -> None:
    class Leaves(METHODS.get("lora")):
        """A method."""

        def merge(self, model: Any) -> None:
            super().merge(model)
            model.video.left_over = nn.Parameter(torch.zeros(1))

    assert "left behind" in why(Leaves, "merged equals unmerged")


def test_copy_of_another_method() -> None:
    class Copy(METHODS.get("adaptformer")):
        """A method."""

        name = "copy"

    assert "cannot be told from adaptformer" in why(Copy, "distinct from every other")


def test_features_that_depend_on_the_batch() -> None:
    class Centred(nn.Module):
        def __init__(self, adapter: nn.Module) -> None:
            super().__init__()
            self.adapter = adapter

        def forward(self, x: Tensor) -> Tensor:
            return self.adapter(x - x.mean(0, keepdim=True))

    class BatchCentred(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            return Centred(pb.Bottleneck(width, self.dim))

    assert why(BatchCentred, "batch changes nothing")


def test_start_that_ignores_the_seed() -> None:
    class Unseeded(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            adapter = pb.Bottleneck(width, self.dim)
            with torch.no_grad():
                adapter.down.weight.normal_(generator=torch.Generator().manual_seed(torch.seed() % 2**31))
            return adapter

    assert why(Unseeded, "same seed same numbers")


def test_adapter_that_goes_round_the_sites() -> None:
    class Around(Good):
        """A method."""

        def attach(self, model: Any) -> None:
            super().attach(model)
            hooked = pb.Bottleneck(model.config.vision_width, self.dim)
            model.video.hooked = hooked
            model.blocks("video")[0].register_forward_hook(lambda _module, _inputs, output: output + hooked(output))

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            width = config.vision_width
            return super().expected_trainable(config) + (2 * width + 1) * self.dim + width

    assert set(failures(Around)) == {"adapters off is the frozen model"}


def test_weights_rewritten_by_eval() -> None:
    class Halving(nn.Module):
        def __init__(self, adapter: pb.Bottleneck) -> None:
            super().__init__()
            self.adapter = adapter

        def train(self, mode: bool = True) -> nn.Module:
            if not mode:
                self.adapter.up.weight.data /= 2
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.adapter(x)

    class Rewriting(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            return Halving(pb.Bottleneck(width, self.dim))

    assert "changed when switching" in why(Rewriting, "switching modes changes nothing")


def test_infinite_features_in_bf16() -> None:
    class Huge(nn.Module):
        def __init__(self, adapter: nn.Module) -> None:
            super().__init__()
            self.adapter = adapter

        def forward(self, x: Tensor) -> Tensor:
            y = self.adapter(x)
            return y / 0 if y.dtype == torch.bfloat16 else y

    class Overflows(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            return Huge(pb.Bottleneck(width, self.dim))

    assert set(failures(Overflows)) == {"finite in bf16", "half precision is close"}


def test_method_for_four_frames_only() -> None:
    class FourFrames(nn.Module):
        def __init__(self, adapter: nn.Module) -> None:
            super().__init__()
            self.adapter = adapter

        def forward(self, x: Tensor, grid: Any) -> Tensor:
            assert grid.frames == 4, "made for four frames"
            return self.adapter(x)

    class Fixed(Good):
        """A method."""

        def attach(self, model: Any) -> None:
            for block in model.blocks("video"):
                block.attention.add_parallel(FourFrames(self.adapter(block.width)), with_grid=True)

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            return sum((2 * width + 1) * self.dim + width for width in config.block_widths("video"))

    said = why(Fixed, "works on every backbone")
    assert "ViCLIP, 1 frame" in said
    assert "made for four frames" in said
    assert "test_methods.py, line" in said


def test_loss_that_climbs() -> None:
    class Climbs(Good):
        """A method."""

        def attach(self, model: Any) -> None:
            super().attach(model)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(lambda gradient: -gradient)

    assert set(failures(Climbs)) == {"learns"}


def test_checks_stop_where_no_values_fit() -> None:
    class TooWide(Good):
        """A method."""

        dim: int = pb.hyper(4096, "channels", minimum=1024)
        kind: Literal["a", "b"] = pb.hyper("a", "choice")

        def attach(self, model: Any) -> None:
            raise pb.UsageError("needs a width of 4096")

    results = results_of(TooWide)
    assert [result.name for result in results] == ["fits a small model"]
    assert "needs a width of 4096" in results[0].why


def test_values_given_are_the_values_checked() -> None:
    class Picky(Good):
        """A method."""

        def attach(self, model: Any) -> None:
            if self.dim != 5:
                raise pb.UsageError("dim must be 5")
            super().attach(model)

    with pytest.raises(AssertionError, match="dim must be 5"):
        pb.testing.check_method(Picky)
    assert pb.testing.check_method(Picky, dim=5)


def test_backbones_limit_the_shapes_tried() -> None:
    class JointOnly(Good):
        """A method."""

        backbones = ("viclip-b16",)

        def attach(self, model: Any) -> None:
            assert model.config.joint_space_time, "no frame-wise backbone"
            super().attach(model)

    assert failures(JointOnly) == {}
    JointOnly.backbones = None
    assert "no frame-wise backbone" in why(JointOnly, "works on every backbone")


def test_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    results_of(Good)
    assert torch.equal(torch.rand(3), expected)


def test_a_file_is_checked_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "no_method.py"
    path.write_text("x = 1\n")
    with pytest.raises(pb.UsageError, match="registers no plugin"):
        pb.testing.check_method(path)

"""Where a method may act: sites around the residual branches and blocks, and linears that can be replaced.

A site computes y = f(x). With modules attached it computes, in this order,

    y = f(before(x))  +  sum of scale * parallel(x);    then, one after the other,    y = y + scale * after(y)

A site without modules costs one check, and so does every site while the adapters are off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from petl_bench.errors import UsageError
from petl_bench.models.grid import Grid, from_volume, to_volume

__all__ = ["AdapterSwitch", "Grid", "LinearSite", "Site", "from_volume", "to_volume"]


@dataclass
class AdapterSwitch:
    """One per model, shared by all its sites: off means that the model computes as if nothing were attached."""

    on: bool = True
    #: puts back, one after the other, the weights that `DualEncoder.with_weights` computes with
    substitutions: tuple[Callable[[], AbstractContextManager[None]], ...] = ()


class Attachment(nn.Module):
    """A module at a site, with how it is called and by what its output is scaled."""

    def __init__(self, module: nn.Module, scale: float | Tensor, normed: bool, with_grid: bool) -> None:
        super().__init__()
        self.module = module
        self.scale = scale
        self.normed = normed
        self.with_grid = with_grid

    def forward(self, x: Tensor, grid: Grid | None) -> Tensor:
        """The module's output for x [B, N, width], not scaled."""
        output: Tensor = self.module(x, grid) if self.with_grid else self.module(x)
        return output

    def add_to(self, y: Tensor, x: Tensor, grid: Grid | None) -> Tensor:
        """y + scale * module(x)."""
        output: Tensor = self(x, grid)
        return y + self.scale * output if isinstance(self.scale, Tensor) else torch.add(y, output, alpha=self.scale)


class Site(nn.Module):
    """Base of everything modules can be attached to. Tokens x, y: [B, N, width]; `grid` is None in the text tower."""

    def __init__(self, switch: AdapterSwitch) -> None:
        super().__init__()
        self._switch = switch
        self.before, self.parallel, self.after = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()

    def add_parallel(
        self, module: nn.Module, scale: float | Tensor = 1.0, normed: bool = False, with_grid: bool = False
    ) -> None:
        """y = f(x) + scale * module(x).

        `normed`: the module reads f's own (first) layer norm of x, computed once for both. `with_grid`: it is called as
        `module(x, grid)`. `scale` may be a parameter.
        """
        self.parallel.append(Attachment(module, scale, normed, with_grid))

    def add_before(self, module: nn.Module, with_grid: bool = False) -> None:
        """y = f(module(x)). The residual connection around a branch still carries x."""
        self.before.append(Attachment(module, 1.0, False, with_grid))

    def add_after(self, module: nn.Module, scale: float | Tensor = 1.0, with_grid: bool = False) -> None:
        """y + scale * module(y), where y = f(x)."""
        self.after.append(Attachment(module, scale, False, with_grid))

    def forward(self, x: Tensor, grid: Grid | None = None, normed: Tensor | None = None) -> Tensor:
        """y of [B, N, width]; `normed` is f's layer norm of x if the caller has computed it already."""
        if not self._switch.on or not (self.before or self.parallel or self.after):
            return self.compute(x, grid, normed)
        if normed is None and any(attachment.normed for attachment in self.parallel):
            normed = self.first_norm(x)
        y = self._compute_behind(self.before, x, grid, normed)
        for attachment in self.parallel:
            assert isinstance(attachment, Attachment)
            y = attachment.add_to(y, normed if attachment.normed and normed is not None else x, grid)
        for attachment in self.after:
            assert isinstance(attachment, Attachment)
            y = attachment.add_to(y, y, grid)
        return y

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """f(x) without this site's own attachments."""
        raise NotImplementedError

    def first_norm(self, x: Tensor) -> Tensor:
        """The layer norm that f begins with, of x."""
        raise NotImplementedError

    def _compute_behind(self, before: nn.ModuleList, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        for attachment in before:
            x, normed = attachment(x, grid), None
        return self.compute(x, grid, normed)


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing: the model draws all its weights, or loads them."""


class LinearSite(nn.Module):
    """A linear map of the backbone that a module may replace (LoRA); `base` is the backbone's own `nn.Linear`."""

    def __init__(self, in_features: int, out_features: int, switch: AdapterSwitch) -> None:
        super().__init__()
        self._switch = switch
        self.base = _Linear(in_features, out_features)
        self.replacement: nn.Module | None = None

    def replace(self, module: nn.Module) -> None:
        """Let `module` compute instead of `base`, [..., in] -> [..., out]. Raises UsageError if one already does."""
        if self.replacement is not None:
            raise UsageError("this linear already has a replacement; restore() it before another one is put in")
        self.replacement = module

    def restore(self) -> None:
        """Take the replacement out; `base` computes again."""
        self.replacement = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], by the replacement if there is one and adapters are on."""
        module = self.base if self.replacement is None or not self._switch.on else self.replacement
        output: Tensor = module(x)
        return output

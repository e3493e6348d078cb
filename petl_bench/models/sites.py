"""Where a method may act: sites around residual branches, blocks and streams; norms; linears that can be replaced.

A site computes y = f(x). With modules attached it computes, in this order,

    y = f(before(x))  +  sum of scale * parallel(x);    then, one after the other,    y = y + scale * after(y)

A `Stream` is a site with f(x) = x. Norms, linears and chains (`Norm`, `LinearSite`, `Chain`) compute y = f(x), then
y = module(y) for every module given to `then`.

A site without modules costs one check, and so does every site while the adapters are off. Every module of a method is
held by an `Attachment`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from petl_bench.errors import PluginError, UsageError
from petl_bench.models.grid import Grid, from_volume, to_volume

__all__ = [
    "AdapterSwitch",
    "Attachment",
    "Chain",
    "Grid",
    "LinearSite",
    "Norm",
    "Site",
    "Stream",
    "from_volume",
    "to_volume",
]


@dataclass
class AdapterSwitch:
    """One per model, shared by all its sites: off means that the model computes as if nothing were attached."""

    on: bool = True
    #: puts back, one after the other, the weights that `DualEncoder.with_weights` computes with
    substitutions: tuple[Callable[[], AbstractContextManager[None]], ...] = ()
    checkpoint_blocks: bool = False  #: blocks keep their input alone for the backward pass, and compute again there


class Attachment(nn.Module):
    """Holds a module of a method, and is called like it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """The module's output."""
        return self.module(*inputs)


class Addition(Attachment):
    """A module at a site, with how it is called and by what its output is scaled. `place` names the site in errors."""

    def __init__(
        self, module: nn.Module, scale: float | Tensor, normed: bool, with_grid: bool, place: str = "a module"
    ) -> None:
        super().__init__(module)
        self.scale = scale
        self.normed = normed
        self.with_grid = with_grid
        self.place = place

    def forward(self, x: Tensor, grid: Grid | None) -> Tensor:
        """The module's output for x [B, N, width], not scaled; with a grid, zeros for extra tokens."""
        return self._compute(x, grid, torch.zeros_like)

    def in_place_of(self, x: Tensor, grid: Grid | None) -> Tensor:
        """The module's output for x [B, N, width], which replaces x; with a grid, extra tokens stay as they are."""
        return self._compute(x, grid, lambda extra: extra)

    def add_to(self, y: Tensor, x: Tensor, grid: Grid | None) -> Tensor:
        """y + scale * module(x)."""
        output: Tensor = self(x, grid)
        return y + self.scale * output if isinstance(self.scale, Tensor) else torch.add(y, output, alpha=self.scale)

    def _compute(self, x: Tensor, grid: Grid | None, for_extra: Callable[[Tensor], Tensor]) -> Tensor:
        output: Tensor
        if not self.with_grid:
            output = self.module(x)
        elif grid is None or not (grid.extra or grid.reduced_by):
            output = self.module(x, grid)
        else:
            complete = grid.complete(f"{self.place}: {type(self.module).__name__}")
            own, start, end = grid.split(x)
            output = grid.join(self.module(own, complete), for_extra(start), for_extra(end))
        return output


class Site(nn.Module):
    """Base of what modules are added to. Tokens x, y: [B, N, width]; `grid` is None in the text tower.

    `place` names the site in errors. Where a video's tokens hold extra ones, a module `with_grid` gets none of them and
    adds nothing to them; one without reads and changes them like any other.
    """

    def __init__(self, switch: AdapterSwitch, place: str = "a site") -> None:
        super().__init__()
        self._switch = switch
        self.place = place
        self.before: nn.ModuleList | None = None
        self.parallel: nn.ModuleList | None = None
        self.after: nn.ModuleList | None = None

    def add_parallel(
        self, module: nn.Module, scale: float | Tensor = 1.0, normed: bool = False, with_grid: bool = False
    ) -> None:
        """y = f(x) + scale * module(x).

        `normed`: the module reads f's own (first) layer norm of x, computed once for both. `with_grid`: it is called as
        `module(x, grid)`. `scale` may be a parameter.
        """
        self.parallel = with_one_more(self.parallel, Addition(module, scale, normed, with_grid, self.place))

    def add_before(self, module: nn.Module, with_grid: bool = False) -> None:
        """y = f(module(x)). The residual connection around a branch still carries x."""
        self.before = with_one_more(self.before, Addition(module, 1.0, False, with_grid, self.place))

    def add_after(self, module: nn.Module, scale: float | Tensor = 1.0, with_grid: bool = False) -> None:
        """y + scale * module(y), where y = f(x)."""
        self.after = with_one_more(self.after, Addition(module, scale, False, with_grid, self.place))

    def forward(self, x: Tensor, grid: Grid | None = None, normed: Tensor | None = None) -> Tensor:
        """y of [B, N, width]; `normed` is f's layer norm of x if the caller has computed it already."""
        if not self._switch.on or (self.before is None and self.parallel is None and self.after is None):
            return self.compute(x, grid, normed)
        before, parallel, after = (_additions(found) for found in (self.before, self.parallel, self.after))
        if normed is None and any(addition.normed for addition in parallel):
            normed = self.first_norm(x)
        y = self._compute_behind(before, x, grid, normed)
        for addition in parallel:
            y = addition.add_to(y, normed if addition.normed and normed is not None else x, grid)
        for addition in after:
            y = addition.add_to(y, y, grid)
        return y

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """f(x) without this site's own attachments."""
        raise NotImplementedError

    def first_norm(self, x: Tensor) -> Tensor:
        """The layer norm that f begins with, of x. Raises UsageError if there is none."""
        raise UsageError(f"{self.place} has no norm: add the module without normed=True")

    def _compute_behind(self, before: list[Addition], x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        for addition in before:
            x, normed = addition.in_place_of(x, grid), None
        return self.compute(x, grid, normed)


def with_one_more(modules: nn.ModuleList | None, module: nn.Module) -> nn.ModuleList:
    """The list with one more. Sites without modules hold None: an empty list would take longer to ask for."""
    return nn.ModuleList([module]) if modules is None else modules.append(module)


def _additions(modules: nn.ModuleList | None) -> list[Addition]:
    return [] if modules is None else [cast(Addition, module) for module in modules]


class Stream(Site):
    """The stream of tokens at one place, between two parts of the backbone: f(x) = x."""

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """x itself."""
        return x


class Chained:
    """What norms, linears and chains share: y = f(x), then y = module(y) for each module in order."""

    after: nn.ModuleList | None
    place: str
    _switch: AdapterSwitch

    def then(self, module: nn.Module) -> None:
        """y = module(y) behind what is there; of y's shape."""
        self.after = with_one_more(self.after, Attachment(module))

    def clear(self) -> None:
        """Take the modules out again, if they were folded into the backbone's weights."""
        self.after = None

    def drop_first_behind(self) -> None:
        """Take the first module behind f out again, if it was folded into the backbone's weights."""
        self.after = _without(self.after, 0)

    def _behind(self, y: Tensor) -> Tensor:
        return y if self.after is None or not self._switch.on else _one_by_one(self.after, y, self.place)


def _without(modules: nn.ModuleList | None, place: int) -> nn.ModuleList | None:
    """The list without the module at a place; None instead of an empty one."""
    kept = list(modules or ())
    del kept[place]
    return nn.ModuleList(kept) if kept else None


def _one_by_one(modules: nn.ModuleList | None, x: Tensor, place: str) -> Tensor:
    for attachment in modules or ():
        y: Tensor = attachment(x)
        if y.shape != x.shape:
            name = type(attachment.module).__name__
            raise PluginError(
                f"{place}: {name} gave a tensor {list(y.shape)} for one of {list(x.shape)}; keep its shape"
            )
        x = y
    return x


class Chain(Chained, nn.Module):
    """A tensor's way from one part of the model to the next; `place` names it in errors."""

    def __init__(self, switch: AdapterSwitch, place: str) -> None:
        super().__init__()
        self._switch = switch
        self.place = place
        self.after = None

    def forward(self, x: Tensor) -> Tensor:
        """x [...] through the modules."""
        return self._behind(x)


class Norm(Chained, nn.LayerNorm):
    """A layer norm of the backbone, [..., width], with what a method puts behind it."""

    def __init__(self, width: int, switch: AdapterSwitch, place: str = "a norm") -> None:
        super().__init__(width)
        self._switch = switch
        self.place = place
        self.after = None

    def forward(self, x: Tensor) -> Tensor:
        """The norm of x, through the modules behind it."""
        return self._behind(super().forward(x))


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing: the model draws all its weights, or loads them."""


class LinearSite(Chained, nn.Module):
    """A linear map of the backbone that a module may replace (LoRA); `base` is the backbone's own `nn.Linear`.

    y = linear(x); with modules y = then(linear(first(x))), where `linear` is the replacement if there is one.
    """

    def __init__(self, in_features: int, out_features: int, switch: AdapterSwitch, place: str = "this linear") -> None:
        super().__init__()
        self._switch = switch
        self.place = place
        self.base = _Linear(in_features, out_features)
        self.replacement: nn.Module | None = None
        self.before: nn.ModuleList | None = None
        self.after = None

    def replace(self, module: nn.Module) -> None:
        """Let `module` compute instead of `base`, [..., in] -> [..., out]. Raises UsageError if one already does."""
        if self.replacement is not None:
            raise UsageError(f"{self.place} already has a replacement, and takes one alone")
        self.replacement = module

    def restore(self) -> None:
        """Take the replacement out; `base` computes again."""
        self.replacement = None

    def first(self, module: nn.Module) -> None:
        """x = module(x) before the linear map, behind what is there; of x's shape."""
        self.before = with_one_more(self.before, Attachment(module))

    def clear(self) -> None:
        """Take the modules before and behind the linear map out again; a replacement stays."""
        self.before = self.after = None

    def drop_last_before(self) -> None:
        """Take the last module before the linear map out again, if it was folded into its weights."""
        self.before = _without(self.before, -1)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], with what is attached if adapters are on."""
        module = self.base if self.replacement is None or not self._switch.on else self.replacement
        output: Tensor
        if (self.before is None and self.after is None) or not self._switch.on:
            output = module(x)
            return output
        output = module(_one_by_one(self.before, x, self.place))
        return self._behind(output)

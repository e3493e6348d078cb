"""`peft:TYPE`: the tuners of Hugging Face PEFT on the linears of the blocks."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import petl_bench as pb
from petl_bench.api.family import Family
from petl_bench.api.options import text_of
from petl_bench.errors import unknown
from petl_bench.methods._peft_configs import PeftField, fields_of, installed_types
from petl_bench.methods._peft_types import LEFT_OUT, REFUSED, TUNERS, Tuner, why_left_out
from petl_bench.methods._recipes import MSTA_RATES, at_the_rates_of_msta, not_tuned_in_retrieval
from petl_bench.methods._targets import Target, refuse_targets, shape_in, site_in
from petl_bench.system.texts import shortened

if TYPE_CHECKING:
    from torch import nn

    from petl_bench.models.dual_encoder import DualEncoder

PEFT = pb.Paper(
    title="PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods",
    venue="GitHub, 2022",
    url="https://github.com/huggingface/peft",
    bibtex=r"""@misc{peft,
  title        = {{PEFT}: State-of-the-art Parameter-Efficient Fine-Tuning methods},
  author       = {Sourab Mangrulkar and Sylvain Gugger and Lysandre Debut and Younes Belkada and Sayak Paul and
                  Benjamin Bossan and Marian Tietz},
  howpublished = {\url{https://github.com/huggingface/peft}},
  year         = {2022}
}""",
    licence="Apache-2.0",
)
#: What PEFT says when it takes other values than it was given.
_OTHER_VALUES = re.compile(r"Invalid|[Aa]djust|can NOT be performed")
#: What torch puts behind a message of its C++ code.
_TRACE = "Exception raised from"
#: Letters of PEFT's words in an error.
_LONGEST = 300


class PeftMethod(pb.Method):
    """The tuners of Hugging Face PEFT: its own layers of one type around chosen linears of every block.

    y = layer(x; W, b, what PEFT trains)     x: [..., in], W: [out, in], y: [..., out]

    W and b are the backbone's, frozen and shared, not copied. PEFT sees the chosen linears alone, named
    `blocks.NUMBER.TOWER.TARGET`, so that what a type shares between linears is shared between these. Nothing else of
    PEFT reaches the model.
    """

    paper = PEFT
    decided_by = ("peft",)
    peft_type: ClassVar[str] = ""
    known_failures: ClassVar[Mapping[str, str]] = {}

    targets: tuple[Target, ...] = pb.hyper(("q", "v"), "linear maps that are adapted: q, k, v, out, fc, proj")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    @classmethod
    def parse(cls, texts: Mapping[str, str], name: str = "") -> dict[str, Any]:
        """As for every method; a field of PEFT's that is not offered is refused with the reason."""
        for field in texts:
            if field in LEFT_OUT or field in _not_offered(cls.peft_type):
                raise pb.UsageError(f"{cls.name}.{field} cannot be set: {why_left_out(field)}")
        values = super().parse(texts, name)
        for field, other in TUNERS[cls.peft_type].instead.items():
            if values.get(field) and values.get(other):
                both = f"{field}={values[field]} and {other}={values[other]}"
                raise pb.UsageError(f"{cls.name}: {both}: PEFT takes one of both; leave one out")
        return values

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_targets(f"{self.name}.targets", self.targets)
        for field, other in TUNERS[self.peft_type].instead.items():
            if getattr(self, field):
                setattr(self, other, 0)
        for field, reasons in TUNERS[self.peft_type].refused.items():
            if reason := reasons.get(getattr(self, field)):
                raise pb.UsageError(f"{self._said(field)} cannot be used: {reason}")
        for field in TUNERS[self.peft_type].among_targets:
            if not set(getattr(self, field) or ()) <= set(self.targets):
                raise pb.UsageError(
                    f"{self._said(field)} is not part of {self._said('targets')}: add it to the targets, or type --set "
                    f"{self.name}.{field}=none"
                )
        for each in _offered(self.peft_type):
            if each.name.endswith("dropout") and not 0 <= getattr(self, each.name) < 1:
                raise pb.UsageError(f"{self._said(each.name)}: expected at least 0, and less than 1")

    def _said(self, field: str) -> str:
        return f"{self.name}.{field}={text_of(getattr(self, field))}"

    def attach(self, model: DualEncoder) -> None:
        """PEFT's layer, which holds the linear, in the place of every chosen linear."""
        sites = self._sites(model)
        layers = self._layers({name: site.base for name, site in sites.items()})
        for name, site in sites.items():
            site.replace(layers[name])

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """PEFT's own count, on linears of these shapes that have no values; no formula of the method's."""
        video = [("video", config.vision_width)] * config.vision_layers
        text = [("text", config.text_width)] * config.text_layers
        blocks = {"video": video, "text": text, "both": video + text}[self.towers]
        return _counted(self.peft_type, json.dumps(self.all_values()), tuple(blocks))

    def _layers(self, linears: Mapping[str, nn.Linear]) -> dict[str, nn.Module]:
        """PEFT's layers around linears, by name; the linears stay what they are."""
        tree = _tree(linears)
        with self._refusing() as peft:
            config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[self.peft_type](**self._peft_values())
            peft.PEFT_TYPE_TO_TUNER_MAPPING[self.peft_type](tree, config, "default")
        return {name: tree.get_submodule(name) for name in linears}

    def _refuse_useless(self, layers: Mapping[str, Any]) -> None:
        """Raise UsageError for values that PEFT takes, but with which layers cannot compute, or nothing trains."""
        import torch

        parameters = _parameters(layers)
        with self._refusing():
            outputs = [layer.eval()(torch.randn(2, layer.in_features)) for layer in layers.values()]
            total = torch.stack([(y * torch.randn_like(y)).sum() for y in outputs]).sum()
            gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
        found = [each for each in gradients if each is not None]
        if not all(each.isfinite().all() for each in (*outputs, *found)):
            raise self._refusal("cannot use", "it computes numbers that are not finite")
        if not any(each.any() for each in found):
            raise self._refusal("trains nothing with", "no parameter gets a gradient")

    @contextmanager
    def _refusing(self) -> Iterator[Any]:
        """PEFT's classes by type; what it says against the values within is a UsageError."""
        with warnings.catch_warnings(record=True) as found, _environment_kept():
            peft = _mapping()
            warnings.simplefilter("always")
            try:
                yield peft
            except Exception as error:  # PEFT raises errors of many kinds for values that do not fit
                raise self._refusal("refuses", error) from error
        for each in found:
            if _OTHER_VALUES.search(str(each.message)):
                raise self._refusal("would not use", each.message)

    def _refusal(self, does: str, why: object) -> pb.UsageError:
        words = " ".join(str(why).split(_TRACE)[0].split()) or type(why).__name__
        words = shortened(words, _LONGEST).rstrip(".")
        return pb.UsageError(f"{self.name}: PEFT {does} these values: {words}. See: petl-bench show {self.name}")

    def _peft_values(self) -> dict[str, Any]:
        """The values of PEFT's configuration."""
        values = {field.name: getattr(self, field.name) for field in _offered(self.peft_type)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        values |= {name: values[name] or [] for name in TUNERS[self.peft_type].among_targets}
        if "progressbar" in _not_offered(self.peft_type):
            values["progressbar"] = False
        return {**values, "target_modules": list(self.targets)}

    def _sites(self, model: DualEncoder) -> dict[str, Any]:
        blocks = model.blocks(self.towers)
        return {
            f"blocks.{number}.{block.tower}.{target}": site_in(block, target)
            for number, block in enumerate(blocks)
            for target in self.targets
        }


def merge(self: PeftMethod, model: DualEncoder) -> None:
    """PEFT's own merge into W and b, and the backbone's own linears back in their places."""
    import torch

    with torch.no_grad():
        for site in self._sites(model).values():
            site.replacement.merge()
            site.restore()


def _mapping() -> Any:
    """PEFT's classes by type; imported here, because that takes seconds."""
    return importlib.import_module("peft.mapping")


def _tree(linears: Mapping[str, nn.Linear]) -> nn.Module:
    """A module that holds the linears under their names, and nothing else."""
    from torch import nn

    root = nn.Module()
    for name, linear in linears.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.add_module(last, _plain(linear))
    return root


def _plain(linear: nn.Linear) -> nn.Linear:
    """A linear with the same weight and bias, shared; of torch's own class, which some types insist on."""
    from torch import nn

    plain = nn.Linear(linear.in_features, linear.out_features, device="meta")
    plain.weight, plain.bias = linear.weight, linear.bias
    return plain


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Variables of the environment are put back: BOFT leaves some behind."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@functools.lru_cache(maxsize=256)
def _counted(peft_type: str, values: str, blocks: tuple[tuple[str, int], ...]) -> int:
    """The parameters that PEFT trains in blocks (tower, width), for the values of a method as JSON."""
    import torch

    method = _method_of(peft_type)(**json.loads(values))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            layers = method._layers(_linears(method, blocks, "meta"))
        except pb.UsageError:  # wrong values, or a type that computes with the weights
            tried = layers = method._layers(_linears(method, blocks, "cpu"))
        else:
            narrowest = min(blocks, key=lambda block: block[1])
            tried = method._layers(_linears(method, [narrowest], "cpu"))
        method._refuse_useless(dict(islice(tried.items(), len(method.targets))))
    return sum(each.numel() for each in _parameters(layers))


def _linears(method: PeftMethod, blocks: Sequence[tuple[str, int]], device: str) -> dict[str, nn.Linear]:
    from torch import nn

    linears = {}
    for number, (tower, width) in enumerate(blocks):
        for target in method.targets:
            n_in, n_out = shape_in(width, target)
            linears[f"blocks.{number}.{tower}.{target}"] = nn.Linear(n_in, n_out, device=device)
    return linears


def _parameters(layers: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    """The parameters that train, each once."""
    found = (each for layer in layers.values() for each in layer.parameters() if each.requires_grad)
    return list(dict.fromkeys(found))


# Classes of types


def _offered(peft_type: str) -> list[PeftField]:
    choices = TUNERS[peft_type].choices
    return [each for each in fields_of(peft_type) if each.name not in LEFT_OUT and (each.kind or each.name in choices)]


def _not_offered(peft_type: str) -> list[str]:
    offered = {field.name for field in _offered(peft_type)}
    return [field.name for field in fields_of(peft_type) if field.name not in offered]


def _refused() -> dict[str, str]:
    """The types that cannot be used, each with the reason."""
    failing = {
        name: "; ".join(f"it fails the check {check!r}: {fault}" for check, fault in tuner.fails.items())
        for name, tuner in TUNERS.items()
        if tuner.fails
    }
    return dict(sorted({**REFUSED, **failing}.items()))


class PeftFamily(Family):
    """`peft:TYPE` for every type of PEFT's tuners that works on separate linears."""

    meaning = "Any of Hugging Face PEFT's tuners on the linears of the blocks, e.g. peft:OFT (petl-bench show peft)."
    member = "TYPE"
    example = "peft:LORA"

    def members(self) -> list[str]:
        """The types that can be used, of those that are installed."""
        return [each for each in installed_types() if each in TUNERS and not TUNERS[each].fails]

    def make(self, member: str) -> type[PeftMethod]:
        """The method of a type."""
        if member in (refused := _refused()):
            raise pb.UsageError(f"peft:{member} cannot be used: {refused[member]}. See: petl-bench show peft")
        if member not in self.members():
            raise unknown("type of PEFT's", member, self.members(), "petl-bench show peft")
        return _method_of(member)

    def page(self) -> Iterator[str]:
        """What it is, every type with its meaning, and those that are refused with the reason."""
        yield from inspect.cleandoc(PeftMethod.__doc__ or "").splitlines()
        yield ""
        yield "Types (petl-bench show peft:TYPE; their fields are PEFT's):"
        width = max(map(len, TUNERS))
        yield from (f"  {name:<{width}}  {TUNERS[name].meaning}" for name in self.members())
        yield ""
        yield "Types that cannot be used:"
        yield from (f"  {name}: {why}" for name, why in _refused().items())


@functools.cache
def _method_of(peft_type: str) -> type[PeftMethod]:
    tuner = TUNERS[peft_type]
    body: dict[str, Any] = {"__annotations__": {}, "__module__": __name__, "__doc__": _meaning(peft_type, tuner)}
    body |= {"name": f"peft:{peft_type}", "display": f"{peft_type} (PEFT)", "peft_type": peft_type}
    body["recipes"] = _recipes(tuner)
    body |= {"identity_at_start": tuner.identity, "mergeable": tuner.mergeable, "known_failures": tuner.known}
    if tuner.mergeable:
        body["merge"] = merge
    for field in _offered(peft_type):
        kind, default = field.kind, tuner.defaults.get(field.name, field.default)
        if field.name in tuner.choices:
            kind = Literal[*tuner.choices[field.name]]
        body["__annotations__"][field.name] = kind
        body[field.name] = pb.hyper(default, field.meaning)
    if tuner.targets != ("q", "v"):
        body["__annotations__"]["targets"] = tuple[Target, ...]
        body["targets"] = pb.hyper(tuner.targets, "linear maps that are adapted: q, k, v, out, fc, proj")
    return type(f"Peft{peft_type}", (PeftMethod,), body)


def _meaning(peft_type: str, tuner: Tuner) -> str:
    lines = [f"PEFT's {peft_type} on the linears of the blocks: {tuner.meaning}."]
    if tuner.note:
        lines += ["", f"Note: {tuner.note}."]
    lines += [
        f"\n{field}, if it is not 0, sets {other} to 0: PEFT takes one of both."
        for field, other in tuner.instead.items()
    ]
    if tuner.paper:
        lines += ["", f"The method's own paper: {tuner.paper}"]
    lines += ["", "Fields of PEFT's that are not offered:"]
    lines += [f"  {name}: {why_left_out(name)}" for name in _not_offered(peft_type)]
    return "\n".join(lines)


def _recipes(tuner: Tuner) -> tuple[pb.Recipe, ...]:
    """None of its own: rates are taken over."""
    places = [(setting, backbone) for setting in MSTA_RATES for backbone in ("viclip-tiny", "clip-tiny")]
    return (
        *at_the_rates_of_msta({}, "sizes are PEFT's defaults"),
        *(
            pb.Recipe(setting, backbone, {"learning_rate": 3e-3}, tuner.small, _rate_of_lora("base2novel"), tuned=False)
            for setting, backbone in places
            if setting != "retrieval"
        ),
        *(replace(recipe, source=_rate_of_lora("retrieval")) for recipe in not_tuned_in_retrieval(1e-3, tuner.small)),
    )


def _rate_of_lora(setting: str) -> str:
    return f"learning rate of lora in {setting} on viclip-tiny, taken over; not tuned for this method"

"""Adapters as folders of Hugging Face PEFT, and back: `adapter_config.json` and `adapter_model.safetensors`.

Neither way needs the library `peft`. A method says in `Method.peft_format` what the files mean to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.api.config import Towers, ViCLIPConfig
from petl_bench.api.method import Method
from petl_bench.api.peft_format import PeftFormat
from petl_bench.api.registry import METHODS
from petl_bench.errors import PluginError, StoreError, UsageError, WeightsError
from petl_bench.models.conversion import differences
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.finite import not_finite, not_floating
from petl_bench.models.peft_names import NamedLinear, named_linears, target_pattern
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import UnusableError, read_json
from petl_bench.system.texts import clean, shortened

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
#: What PEFT puts before the names of the model that it wraps.
_WRAPPER = "base_model.model."
#: Fields without which a configuration is not read; PEFT writes all of them.
_REQUIRED = ("peft_type", "r", "lora_alpha", "target_modules")
#: Fields that change nothing of what an adapter computes.
_WITHOUT_EFFECT = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
)
#: Further values that are as good as an absent field. An initialisation that changes the backbone is not among them.
_AS_ABSENT: dict[str, tuple[Any, ...]] = {"bias": ("none",), "init_lora_weights": (True, "gaussian")}
#: A whole number in a configuration is at most this: no linear has so many channels.
_LARGEST = 1 << 20
#: Bytes that a file of tensors may have beside them.
_HEADER = 1 << 24


def save_peft_adapter(model: DualEncoder, folder: str | os.PathLike[str]) -> None:
    """Write the adapter of a model as a folder that Hugging Face PEFT loads.

    For a CLIP backbone, `PeftModel.from_pretrained(transformers.CLIPModel, folder)`; for a ViCLIP,
    `PeftModel.from_pretrained(petl_bench.DualEncoder, folder)`, each with the weights that the adapter was trained on.

    Args:
        model: With a method attached that PEFT has too: `lora` or `dora`.
        folder: Is made; it must not be there yet.

    Raises:
        UsageError: The folder is there, nothing is attached, or the method has no form in PEFT.
        StoreError: It cannot be written.
    """
    if model.method is None:
        raise UsageError("nothing is attached to the model: there is no adapter to save")
    method = cast(Method, model.method)
    write_new_folder(Path(folder), peft_files(method, model.config, model.adapter_state()))


def load_peft_adapter(model: DualEncoder, folder: str | os.PathLike[str]) -> Method:
    """Attach the adapter in a folder of Hugging Face PEFT to a model, which then computes what PEFT computes.

    Which linears are adapted is told by the names of the tensors: in every block of a tower, or of both, the same
    ones. A regular expression in `target_modules` is not evaluated. `adapter_model.bin`, a pickle, is not read.

    Args:
        model: To which nothing is attached yet, with the weights that the adapter was trained on.
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        The attached method, `lora` or `dora`.

    Raises:
        UsageError: The model carries a method already.
        StoreError: A file is missing or damaged.
        WeightsError: The configuration has a field that is not supported, or the tensors do not fit. The model is then
            as it was.
    """
    folder = Path(folder).expanduser()
    method, state = read_peft_folder(folder, model.config)
    method.attach(model)
    model.load_adapter_state(state)
    return method


# Writing


def peft_files(
    method: Method, config: ViCLIPConfig, state: Mapping[str, Tensor], origin: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """The files of a folder of PEFT by name. Equal adapters give equal bytes.

    Args:
        method: With the values that the adapter was trained with.
        config: Of the model.
        state: As `DualEncoder.adapter_state` gives it.
        origin: Where the adapter comes from, for the metadata of the tensors.

    Raises:
        UsageError: The method has no form in PEFT.
        WeightsError: The tensors are not those of the method.
    """
    form = _form_of(method)
    towers, targets = method.towers, method.targets  # type: ignore[attr-defined]
    names = {
        f"{linear.site}.replacement.{own}": f"{_WRAPPER}{linear.peft}.{theirs}"
        for linear in named_linears(config, towers, targets)
        for theirs, own in form.tensors.items()
    }
    if set(names) != set(state):
        odd = sorted(set(names) ^ set(state))
        raise WeightsError(f"not the tensors of {method.name} on this backbone: {shortened(', '.join(odd), 200)}")
    fields = {theirs: _whole(getattr(method, own)) for theirs, own in form.fields.items()}
    values = {
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "peft_type": form.peft_type,
        "target_modules": target_pattern(config, towers, targets),
        "task_type": None,
        **form.constants,
        **fields,
    }
    tensors = {names[name]: tensor.contiguous() for name, tensor in state.items()}
    # One entry: safetensors writes a map of several in an order that differs from file to file.
    metadata = {"petl-bench": json.dumps({"method": method.name, **(origin or {})}, sort_keys=True)}
    return {TENSORS: save(tensors, metadata), CONFIG: (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()}


def _form_of(method: Method) -> PeftFormat:
    form = _own_form(type(method))
    if form is None:
        known = ", ".join(plugin.name for plugin in _plugins())
        raise UsageError(f"{method.name or type(method).__name__} has no form in PEFT's format; these have: {known}")
    default, said = type(method)().all_values(), {"targets", "towers", *form.fields.values(), *form.training_only}
    for name, value in method.all_values().items():
        if name not in said and value != default[name]:
            raise UsageError(f"{method.name}.{name}={value} has no form in PEFT's format")
    return form


def _own_form(plugin: type[Method]) -> PeftFormat | None:
    """What a class says itself: a subclass may compute something else, and must say it for itself."""
    form: PeftFormat | None = vars(plugin).get("peft_format")
    return form


def _whole(value: Any) -> Any:
    """A float that is a whole number as int, as PEFT writes it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_new_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with these files. Raises UsageError if it is there, and StoreError if it cannot be written."""
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise UsageError(f"{folder} is there already, and is not replaced; give another name, or remove it") from error
    except OSError as error:
        raise StoreError(f"the folder {folder} cannot be made: {error.strerror}") from error
    for name, content in files.items():
        write_atomically(folder / name, content)


# Reading


def read_peft_folder(folder: Path, config: ViCLIPConfig) -> tuple[Method, dict[str, Tensor]]:
    """The method that an adapter of PEFT is, and its state for `DualEncoder.load_adapter_state` on such a model.

    Raises as `load_peft_adapter`.
    """
    path = folder / CONFIG
    values = _configuration(path)
    plugin = _plugin_for(values, path)
    form = plugin.peft_format
    assert form is not None
    hyper_parameters = _hyper_parameters(values, form, path)
    with _opened(folder / TENSORS) as (file, size):
        places = _places(list(file.keys()), config, form, folder / TENSORS)
        _refuse_other_modules(values["target_modules"], list(places.values()), config, path)
        method = _created(plugin, {**hyper_parameters, **_targets(places.values())}, path)
        wanted = _wanted(method, config, form)
        if size > 8 * sum(shape.numel() for shape in wanted.values()) + _HEADER:
            raise WeightsError(f"{folder / TENSORS}: {size:,} bytes, too many for what {CONFIG} says")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    problems = differences({name: tuple(shape) for name, shape in wanted.items()}, tensors)
    if fault := problems or not_floating(tensors) or not_finite(tensors):
        raise WeightsError(f"{folder / TENSORS}: {shortened(clean(fault), 500)}")
    return method, {_own_name(name, places[name], form): tensor for name, tensor in tensors.items()}


def _configuration(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; name a folder that PEFT's save_pretrained wrote") from error
    except UnusableError as error:
        raise StoreError(f"{path}: {error}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} cannot be the name of a folder: {error}") from error
    if not isinstance(values, dict):
        raise StoreError(f"{path}: not a configuration of PEFT")
    if lacking := [name for name in _REQUIRED if name not in values]:
        raise StoreError(f"{path}: lacks {', '.join(lacking)}")
    return values


def _plugins() -> Iterator[type[Method]]:
    """The registered methods that PEFT has too."""
    for name in METHODS.names():
        with suppress(PluginError):  # of a plugin that is broken otherwise, the methods' own commands tell
            plugin = METHODS.get(name)
            if _own_form(plugin) is not None:
                yield plugin


def _plugin_for(values: Mapping[str, Any], path: Path) -> type[Method]:
    forms = {plugin: cast(PeftFormat, plugin.peft_format) for plugin in _plugins()}
    found = [
        plugin
        for plugin, form in forms.items()
        if values["peft_type"] == form.peft_type
        and all(values.get(name, False) == value for name, value in form.constants.items())
    ]
    if len(found) > 1:
        names = " and ".join(plugin.name for plugin in found)
        raise PluginError(f"{path}: the methods {names} both claim {_said('peft_type', values['peft_type'])}: use one")
    if found:
        return found[0]
    known = ", ".join(f"{form.peft_type} ({plugin.name})" for plugin, form in forms.items())
    raise WeightsError(f"{path}: {_said('peft_type', values['peft_type'])} is not supported; known: {known}")


def _hyper_parameters(values: Mapping[str, Any], form: PeftFormat, path: Path) -> dict[str, Any]:
    """The method's options. Raises WeightsError for a field that would change what is computed and is not known."""
    for name, value in values.items():
        known = name in (*form.fields, *form.constants, *_REQUIRED, *_WITHOUT_EFFECT)
        if not known and not (_is_off(value) or value in _AS_ABSENT.get(name, ())):
            raise WeightsError(f"{path}: {_said(name, value)} is not supported")
        if name in form.fields and not (isinstance(value, int | float) and abs(value) <= _LARGEST):
            raise WeightsError(f"{path}: {_said(name, value)}: expected a number of at most {_LARGEST:,}")
    return {own: values[theirs] for theirs, own in form.fields.items() if theirs in values}


def _is_off(value: Any) -> bool:
    """Whether PEFT writes this for a feature that is not used; 0 may be the number of a layer."""
    return value is None or value is False or value in ("", [], {})


def _said(name: str, value: Any) -> str:
    return shortened(clean(f"{name} = {json.dumps(value)}"), 100)


def _created(plugin: type[Method], values: Mapping[str, Any], path: Path) -> Method:
    try:
        return plugin(**values)
    except UsageError as error:
        raise WeightsError(f"{path}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int]]:
    """A file of tensors, and its size in bytes."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file; PEFT writes it with safe_serialization=True (a pickle is not read)")
    try:
        with safe_open(path, framework="pt") as file:
            yield file, path.stat().st_size
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _places(names: Sequence[str], config: ViCLIPConfig, form: PeftFormat, path: Path) -> dict[str, NamedLinear]:
    """Name of a tensor -> the linear that it belongs to. Raises WeightsError for a name that belongs to none."""
    known = {f"{_WRAPPER}{linear.peft}.{tensor}": linear for linear in named_linears(config) for tensor in form.tensors}
    given = set(names)
    strange = [name for name in names if name not in known]
    if strange or not names:
        backbone = "this ViCLIP (its DualEncoder)" if config.joint_space_time else "a transformers.CLIPModel"
        what = (
            f"{len(strange)} of {len(names)} tensors, the first {strange[0]!r}," if strange else "none of its tensors"
        )
        raise WeightsError(f"{path}: {shortened(clean(what), 200)} belong to no linear of a block of {backbone}")
    return {name: linear for name, linear in known.items() if name in given}


def _refuse_other_modules(
    target_modules: Any, adapted: Sequence[NamedLinear], config: ViCLIPConfig, path: Path
) -> None:
    """Raise WeightsError if `target_modules` lists other linears than there are tensors of."""
    if isinstance(target_modules, str):
        return
    if not isinstance(target_modules, list) or not all(isinstance(name, str) for name in target_modules):
        raise WeightsError(f"{path}: {_said('target_modules', target_modules)}: expected names, or an expression")
    ends = tuple(f".{name}" for name in target_modules)
    listed = {linear.peft for linear in named_linears(config) if f".{linear.peft}".endswith(ends)}
    if odd := sorted(listed ^ {linear.peft for linear in adapted}):
        raise WeightsError(f"{path}: target_modules and the tensors differ in {len(odd)} linears, the first {odd[0]}")


def _targets(adapted: Sequence[NamedLinear] | Any) -> dict[str, Any]:
    """The options `targets` and `towers` of a method that adapts these linears."""
    towers = {linear.tower for linear in adapted}
    targets = tuple(dict.fromkeys(linear.target for linear in adapted))
    both: Towers = "both"
    return {"targets": targets, "towers": towers.pop() if len(towers) == 1 else both}


def _wanted(method: Method, config: ViCLIPConfig, form: PeftFormat) -> dict[str, torch.Size]:
    """The tensors that the method has on such a model, by PEFT's names; nothing is computed."""
    with torch.device("meta"):
        probe = DualEncoder(config, initialise=False)
        type(method)(**method.all_values()).attach(probe)
    own = probe.adapter_tensors()
    return {
        f"{_WRAPPER}{linear.peft}.{theirs}": own[f"{linear.site}.replacement.{tensor}"].shape
        for linear in named_linears(config, method.towers, method.targets)  # type: ignore[attr-defined]
        for theirs, tensor in form.tensors.items()
    }


def _own_name(name: str, linear: NamedLinear, form: PeftFormat) -> str:
    tensor = form.tensors[name.removeprefix(f"{_WRAPPER}{linear.peft}.")]
    return f"{linear.site}.replacement.{tensor}"

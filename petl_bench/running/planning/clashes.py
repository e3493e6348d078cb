"""Whether the parts of a composition can be on one model, tried when it is planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from petl_bench.api.composition import parts_of
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method
from petl_bench.api.options import text_of
from petl_bench.errors import PetlBenchError, UsageError


def refuse_clash(method: Method, config: ViCLIPConfig) -> None:
    """Raise UsageError if the parts of a composition, which is bound to a task, cannot be attached to one model.

    The message ends with values that were tried and go together, if there are some. Other methods are not tried: their
    formulas say what does not fit.
    """
    error = _error_of(method, config, {}) if parts_of(type(method)) else None
    if error is None:
        return
    for changes in _other_places(method):
        if _error_of(method, config, changes) is None:
            told = " ".join(f"--set {name}={text_of(value)}" for name, value in changes.items())
            raise UsageError(f"{error}. They go together with {told}") from error
    raise error


def _other_places(method: Method) -> Iterator[dict[str, Any]]:
    """Values, `PART.FIELD`, that take a part to other linears or another tower; the last part first."""
    values: Mapping[str, Any] = method.all_values()
    names = [part.name for part in reversed(parts_of(type(method)))]
    for name in names:
        others = {each for other in names if other != name for each in values.get(f"{other}.targets", ())}
        own = values.get(f"{name}.targets", ())
        if left := [each for each in own if each not in others]:
            yield {f"{name}.targets": left}
    for name in names:
        if values.get(f"{name}.towers") == "both":
            yield from ({f"{name}.towers": tower} for tower in ("text", "video"))


def _error_of(method: Method, config: ViCLIPConfig, changes: Mapping[str, Any]) -> PetlBenchError | None:
    """What attaching the method with some values changed raises; None if it can be attached.

    Tried without values of weights first; some methods compute with these, and are tried with random ones then.
    """
    for device in ("meta", "cpu"):
        try:
            _attach(method, config, changes, device)
            return None
        except PetlBenchError as error:
            found: PetlBenchError | None = error
        except Exception:  # a fault of the plugin, or of a tensor without values: the trial tells it with its place
            found = None
    return found


def _attach(method: Method, config: ViCLIPConfig, changes: Mapping[str, Any], device: str) -> None:
    import torch  # here, because only compositions need it

    from petl_bench.models.dual_encoder import DualEncoder

    tried = type(method)(**{**method.all_values(), **method.locations(), **changes})
    tried.bind(method.task)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        tried.attach(DualEncoder(config, initialise=device == "cpu"))

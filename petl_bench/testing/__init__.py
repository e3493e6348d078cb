"""For the test suites of plugin authors: the checks behind `petl-bench check`, one test id each.

import petl_bench as pb
import pytest

@pytest.mark.parametrize("check", pb.testing.checks("my_adapter.py"))
def test_my_adapter(check):
    check()
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from petl_bench.api.registry import KINDS, Registry, load_plugin_file, named
from petl_bench.errors import UsageError, unknown
from petl_bench.testing.checks import Check as Check
from petl_bench.testing.checks import CheckResult as CheckResult
from petl_bench.testing.checks import Given
from petl_bench.testing.example import example_clips as example_clips


def checks(
    plugin: str | Path | type,
    *,
    data_root: str | Path | None = None,
    runs: Iterable[str | Path] = (),
    hyper_parameters: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[Check]:
    """The checks of a plugin, for pytest's parametrize; each is called without arguments.

    Args:
        plugin: a plugin file (a path, or a text that ends in .py: everything that it registers), a name such as `msta`
            or `settings:few_shot`, a kind such as `tables` (every plugin of it), or a class.
        data_root: the folder that holds the files of a data set.
        runs: folders of records that a table is built from; without them it is built from made-up records.
        hyper_parameters: of a method, in place of its defaults.
        expected_failures: check -> why it is known to fail, e.g. `{"learns": "its loss is stochastic"}`.

    Raises:
        UsageError: for an unknown name or check, or a file that registers nothing.
        PluginError: for a file that cannot be loaded, or an incomplete plugin.
    """
    given = Given(
        None if hyper_parameters is None else dict(hyper_parameters),
        None if data_root is None else Path(data_root),
        tuple(map(Path, runs)),
    )
    known = _by_function(expected_failures or {})
    found = []
    for registry, each in _plugins(plugin):
        module = importlib.import_module(f"petl_bench.testing.{registry.plural}")
        subject = module.SUBJECT(registry.kind, each, given)
        expected = _known_failures(each) | known
        found += [Check(function, subject, expected.get(function.__name__, "")) for function in module.CHECKS]
    names = {check.function.__name__ for check in found}
    for name in known.keys() - names:
        raise unknown("check", name, names, "petl-bench check NAME")
    return found


def run(found: Iterable[Check]) -> list[CheckResult]:
    """Try the checks, in order. If the first one of a plugin fails, its others would say nothing, and are left out."""
    results: list[CheckResult] = []
    subject = hopeless = None
    for check in found:
        if check.subject is not hopeless:
            results.append(check.result())
        if check.subject is not subject and results[-1].status == "fail":
            hopeless = check.subject
        subject = check.subject
    return results


def check_plugin(plugin: str | Path | type, **given: Any) -> list[CheckResult]:
    """Try every check of a plugin; see `checks` for the arguments.

    Raises:
        AssertionError: with the reason of every failed check.
    """
    results = run(checks(plugin, **given))
    failures = [f"{each.plugin}, {each.name}: {each.why}" for each in results if each.status == "fail"]
    if failures:
        raise AssertionError("\n".join(failures))
    return results


def check_method(method: str | Path | type, **hyper_parameters: Any) -> list[CheckResult]:
    """As `check_plugin`, of a method, with its hyper-parameters."""
    if isinstance(method, str) and not method.endswith(".py") and ":" not in method:
        method = f"methods:{method}"
    return check_plugin(method, hyper_parameters=hyper_parameters or None)


def _known_failures(plugin: Any) -> dict[str, str]:
    """Checks that a plugin of petl-bench's own is known to fail, as it says itself; others say it in their tests."""
    own = str(getattr(plugin, "__module__", "")).partition(".")[0] == "petl_bench"
    return _by_function(getattr(plugin, "known_failures", {}) if own else {})


def _by_function(reasons: Mapping[str, str]) -> dict[str, str]:
    return {name.replace(" ", "_"): why for name, why in reasons.items()}


def _plugins(given: str | Path | type) -> list[tuple[Registry, Any]]:
    """The classes that a file, a name, a kind or a class stands for, each with the registry of its kind."""
    if isinstance(given, type):
        return [(_kind_of(given), given)]
    if isinstance(given, os.PathLike) or given.endswith(".py"):
        found = load_plugin_file(given)
        if not found:
            raise UsageError(f'{given} registers no plugin; put e.g. @pb.register_method("name") above its class')
    elif given in KINDS:
        found = [(KINDS[given], name) for name in KINDS[given].names()]
    elif families := [registry for registry in KINDS.values() if given in registry.families()]:
        found = [(each, f"{given}:{member}") for each in families for member in each.family(given).members()]
    else:
        found = named(given)
    return [(registry, registry.get(name)) for registry, name in found]


def _kind_of(plugin: type) -> Registry:
    for registry in KINDS.values():
        if issubclass(plugin, registry.base_class()):
            return registry
    raise UsageError(f"{plugin.__name__} is no plugin: derive it from pb.Method, or the base class of another kind")

"""For the test suites of plugin authors.

import petl_bench as pb

def test_my_adapter():
    pb.testing.check_method("my_adapter.py")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from petl_bench.api.method import Method
from petl_bench.testing.checks import CheckResult, methods_in, run_checks


def check_method(method: str | Path | type[Method], **hyper_parameters: Any) -> list[CheckResult]:
    """Run the conformance checks on a registered method's name, a plugin file, or a method class.

    Hyper-parameters are those given, else the defaults, else the first recipe that fits a small model (widths 64 and
    48). Returns the results in order. Raises AssertionError with the reason of every failed check, UsageError for an
    unknown name, PluginError for a file that cannot be loaded.
    """
    results, failures = [], []
    for candidate in methods_in(method):
        outcome = run_checks(candidate, hyper_parameters or None)
        results += outcome
        failures += [f"{candidate.name}, {r.name}: {r.why}" for r in outcome if r.status == "fail"]
    if failures:
        raise AssertionError("\n".join(failures))
    return results

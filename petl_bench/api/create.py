"""Make a method by name, with its hyper-parameters as keywords."""

from __future__ import annotations

from typing import Any

from petl_bench.api.method import Method
from petl_bench.api.options import field_types
from petl_bench.api.registry import METHODS
from petl_bench.errors import unknown


def create_method(name: str, **hyper_parameters: Any) -> Method:
    """A method with the given hyper-parameters, the rest at their defaults.

    Raises UsageError for an unknown name or field, or a value outside its limits.
    """
    method = METHODS.get(name)
    for field in hyper_parameters:
        if field not in field_types(method):
            raise unknown(f"field of {name}", field, field_types(method), f"petl-bench show {name}")
    created: Method = method(**hyper_parameters)
    return created

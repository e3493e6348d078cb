"""What a check is: one promise of one plugin, that can be tried by itself; and what checks of all kinds share."""

from __future__ import annotations

import dataclasses
import inspect
import json
import unittest
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from petl_bench.api.training_options import TrainingOptions
from petl_bench.errors import PetlBenchError, UsageError, describe

S = TypeVar("S", bound="Subject")


class Failed(AssertionError):  # noqa: N818 - a result, not an error
    """A promise that the plugin breaks; the message says how."""


class Skipped(unittest.SkipTest):
    """A check that does not apply, or that lacks something; the message says what. pytest shows it as skipped."""


def require(condition: bool, why: str) -> None:
    """Raise Failed with the reason unless the condition holds."""
    if not condition:
        raise Failed(why)


@dataclass(frozen=True)
class Given:
    """What the user gives to a check beside the plugin.

    `hyper_parameters` of a method: used in place of its defaults. `data_root`: the files of a data set. `runs`: folders
    of records, of which a table is built in place of made-up ones.
    """

    hyper_parameters: dict[str, Any] | None = None
    data_root: Path | None = None
    runs: tuple[Path, ...] = ()


class Subject:
    """A plugin under check. Each kind derives a class from this one, with what its checks are tried on."""

    #: Whether a plugin of this kind must say where it was published.
    needs_paper = False

    def __init__(self, kind: str, plugin: Any, given: Given) -> None:
        self.kind, self.plugin, self.given = kind, plugin, given

    @property
    def name(self) -> str:
        """The plugin's name."""
        return str(self.plugin.name or self.plugin.__name__)

    def create(self, **changes: Any) -> Any:
        """The plugin with its options at their defaults, some of them changed."""
        return self.plugin(**changes)

    def surroundings(self) -> AbstractContextManager[Any]:
        """What is set up around each check, and put back afterwards."""
        return nullcontext()


@dataclass(frozen=True)
class CheckResult:
    """Result of one check. `why` is the reason of a failure or a skip, empty for a pass."""

    kind: str
    plugin: str
    name: str
    meaning: str
    status: Literal["pass", "fail", "skip"]
    why: str = ""


@dataclass(frozen=True, eq=False)
class Check:
    """One promise of one plugin. Call it, as a test does: AssertionError says what is broken.

    `expected_failure`: why it is known to fail; it is then skipped with that reason, and fails if it passes.
    """

    function: Callable[[Any], None]
    subject: Subject
    expected_failure: str = ""

    @property
    def plugin(self) -> str:
        """Name of the plugin."""
        return self.subject.name

    @property
    def name(self) -> str:
        """Name of the check, e.g. "learns"."""
        return self.function.__name__.replace("_", " ")

    @property
    def __name__(self) -> str:
        """The id that pytest's parametrize gives it, e.g. "my_adapter-learns"."""
        return f"{self.plugin}-{self.function.__name__}"

    def result(self) -> CheckResult:
        """Try it. What the plugin raises is the finding, told with its file and line."""
        status, why = self._tried()
        if self.expected_failure and status != "skip":
            known = "it passes, and is listed in expected_failures: take it out of that list"
            status, why = ("fail", known) if status == "pass" else ("skip", f"known to fail: {self.expected_failure}")
        return CheckResult(self.subject.kind, self.plugin, self.name, inspect.getdoc(self.function) or "", status, why)

    def __call__(self) -> None:
        result = self.result()
        if result.status == "skip":
            raise Skipped(result.why)
        require(result.status == "pass", f"{self.plugin}, {self.name}: {result.why}")

    def _tried(self) -> tuple[Literal["pass", "fail", "skip"], str]:
        try:
            with self.subject.surroundings():
                self.function(self.subject)
        except Skipped as reason:
            return "skip", str(reason)
        except (Failed, PetlBenchError) as reason:
            return "fail", str(reason)
        except (Exception, SystemExit) as error:  # code that ends the process has broken its promise too
            return "fail", describe(error, within=Path(inspect.getfile(self.subject.plugin)))
        return "pass", ""


# Checks that all kinds share


def documented(subject: Subject) -> None:
    """A docstring; a meaning for every option; values that JSON can hold."""
    text = (subject.plugin.__doc__ or "").strip()
    made_by_dataclass = text.startswith(f"{subject.plugin.__name__}(")
    require(bool(text) and not made_by_dataclass, "the class has no docstring")
    if not dataclasses.is_dataclass(subject.plugin):
        return
    for field in dataclasses.fields(subject.plugin):
        require(
            bool(field.metadata.get("meaning")), f"{field.name}: no meaning; declare it with pb.hyper(default, meaning)"
        )
    values = subject.create().values()
    require(json.loads(json.dumps(values)) == values, f"options are not plain JSON values: {values}")


def paper(subject: Subject) -> None:
    """Title, venue, link, BibTeX entry and licence of the paper."""
    found = subject.plugin.paper
    if found is None:
        why = "no paper; set paper = pb.Paper(title=..., venue=..., url=..., bibtex=..., licence=...)"
        raise Failed(why) if subject.needs_paper else Skipped(why)
    for field in ("title", "venue", "licence"):
        require(bool(getattr(found, field).strip()), f"paper.{field} is empty")
    require(found.url.startswith("http"), f"paper.url is not a link: {found.url!r}")
    require(found.bibtex.strip().startswith("@"), "paper.bibtex is not a BibTeX entry (@inproceedings{...})")


def training_values(subject: Subject) -> None:
    """Its training values are training options, within their limits (petl-bench show training)."""
    try:
        TrainingOptions(**subject.plugin.training)
    except (TypeError, UsageError) as error:
        raise Failed(f"training: {error}") from error

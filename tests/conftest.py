"""What every test shares: one thread per process, and no file outside the test session's own folders."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Tests run in several processes; torch's own threads on top of them only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from petl_bench.api.plugins.files import PREFIX
from petl_bench.api.registry import KINDS

# `make test` draws Hypothesis' usual 100 examples, `make drills` ten times as many (--hypothesis-profile=drills).
settings.register_profile("tests", deadline=None)
settings.register_profile("drills", max_examples=1000, deadline=None)
settings.load_profile("tests")

# A shell without job control starts what runs in its background with interrupts ignored, and everything below with it:
# tests that interrupt a command would wait for nothing.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a file stays on one worker, and a long one that starts last is waited for."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the state of the process before the first test of a file."""
    _BEFORE.setdefault(item.path, _process_state())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A file of tests leaves its process as it found it: which file comes next is up to the workers."""
    yield
    if nextitem is None or nextitem.path != item.path:
        changed = set(_process_state().items()) ^ set(_BEFORE[item.path].items())
        assert not changed, f"left behind for the tests of other files: {sorted(changed)}"


_BEFORE: dict[Path, dict[str, str]] = {}


def _process_state() -> dict[str, str]:
    """What decides what petl-bench does: its variables, and the present folder."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(("PETL_BENCH_", "COLUMNS"))}
    return {**variables, "present folder": str(Path.cwd())}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user cache of this test session; shared by its processes, so that the embedded data set is rendered once."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    os.environ["XDG_CACHE_HOME"] = str(shared / "cache")
    os.environ["XDG_DATA_HOME"] = str(shared / "data")
    os.environ["NO_COLOR"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files to read (not part of the repository); tests that need it are skipped without it."""
    folder = os.environ.get("PETL_BENCH_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PETL_BENCH_REAL_DATA names no folder of real files")
    return Path(folder).resolve()


#: Modules of plugins that tests register; `petl_bench.testing` is what some of them pass for.
_OF_TESTS = (PREFIX, "petl_bench.testing", "test_", "tests.")


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = {kind: dict(registry._registered) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        for name in set(registry._registered) - set(before[kind]):
            module = registry._registered[name].__module__
            if module.startswith(_OF_TESTS):
                del registry._registered[name]
            if module.startswith(PREFIX):  # loaded once more by the next test that names the file
                sys.modules.pop(module, None)

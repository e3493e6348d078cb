"""Every registered method: whatever its adapter is loaded from, it predicts to the bit what its evaluation gave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import petl_bench as pb
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.api.registry import METHODS
from petl_bench.records.layout import ADAPTER
from tests.commands import petl_bench
from tests.predicting.conftest import keys_in
from tests.searching.made_trials import Trained

pytestmark = pytest.mark.slow

NAMES = [*METHODS.names(), "peft:OFT"]
#: One view of a clip, and two: several batches in each. (Crops and novel classes: test_predict.py.)
VIEWS = {
    "one view": ("--set", "training.eval_batch_size=12"),
    "two views": ("--set", "training.views=2", "--set", "training.eval_batch_size=24"),
}
CASES = [
    *((views, name) for views in VIEWS for name in NAMES if "classification" in METHODS.get(name).tasks),
    *(("retrieval", name) for name in NAMES if "retrieval" in METHODS.get(name).tasks),
]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """One epoch of every method, by views or setting; one clip of a class."""
    folder, cache = tmp_path_factory.mktemp("every"), tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    made: dict[str, Trained] = {}

    def trained(what: str) -> Trained:
        if what not in made:
            made[what] = _train(what, folder / what, cache)
        return made[what]

    return trained


def _train(what: str, runs: Path, cache: Path) -> Trained:
    setting = ("retrieval",) if what == "retrieval" else ("few_shot", "--shots", "1", *VIEWS[what])
    names = ",".join(name for case, name in CASES if case == what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 1, "test": 1})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        done = petl_bench("run", "--setting", *setting, "--methods", names, "--seeds", "0", "--epochs", "1",
                          "--workers", "0", "--output", runs)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Trained(runs, cache, keys_in(runs))


#: One view of every method is in `make test`, the others in `make drills`.
PARAMETERS = [pytest.param(*case, marks=() if case[0] == "one view" else pytest.mark.drill) for case in CASES]


@pytest.mark.parametrize(("what", "method"), PARAMETERS)
def test_whatever_it_is_loaded_from(
    every: Callable[[str], Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, method: str
) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path))
    trained = every(what)
    folder = trained.folder("retrieval" if what == "retrieval" else "few_shot", method)
    with np.load(folder / "predictions-test.npz", allow_pickle=False) as stored:
        clips = [next(trained.clips.glob(f"{clip}*")) for clip in stored["clips"]]
        classes = stored["classes"].tolist() if "classes" in stored else ["growing", "falling"]
        expected = stored["scores"] if "scores" in stored else pb.load_adapter(folder).predict(clips, classes).numpy()
    (tmp_path / "classes.txt").write_text("\n".join(classes))

    def predicted(*adapter: str | Path) -> np.ndarray:
        asked = [word for clip in clips for word in ("--videos", str(clip))]
        done = petl_bench("predict", "--adapter", *adapter, *asked, "--classes", tmp_path / "classes.txt", "--format",
                          "json")  # fmt: skip
        assert done.returncode == 0, done.stderr
        return np.array([video["probabilities"] for video in json.loads(done.stdout)["videos"]], np.float32)

    exported = tmp_path / "exported.safetensors"
    assert petl_bench("export", "--adapter", folder, "--output", exported).returncode == 0
    found = {
        "its key": predicted(folder.name[:8], "--runs", trained.runs),
        "an exported file, in Python": pb.load_adapter(exported).predict(clips, classes).numpy(),
    }
    if what != "two views":  # how clips are read does not depend on where the adapter lies
        assert petl_bench("import", exported, "--runs", tmp_path / "other").returncode == 0
        found["an imported one"] = predicted(folder.name[:8], "--runs", tmp_path / "other")
        if (folder / ADAPTER).exists():
            found["a lone file"] = predicted(Path(shutil.copy(folder / ADAPTER, tmp_path / "mine.safetensors")))
    assert [way for way, scores in found.items() if not np.array_equal(scores, expected)] == []

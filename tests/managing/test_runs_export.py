"""`runs export` to a table of records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import petl_bench as pb
from petl_bench.errors import UsageError
from petl_bench.managing import exporting
from petl_bench.managing.exporting import cell
from petl_bench.records.scan import read_all
from tests.managing.conftest import Folder


def test_a_csv_holds_what_load_records_gives(folder: Folder, tmp_path: Path) -> None:
    folder.finish("waiting 0", "other 0", "other 1")
    output = tmp_path / "records.csv"
    done = folder.call("export", "--output", output)
    assert done.return_value == 0 and "wrote 3 trials, 3 rows" in done.stderr
    expected = pb.load_records(folder.runs)
    read = pd.read_csv(output, dtype={"split": str}, keep_default_na=False)
    assert list(read.columns) == list(expected.columns)
    for name in (
        "trial",
        "method",
        "metric",
        "value",
        "seed",
        "split",
        "hyper_parameters",
        "training",
        "manifest_sha256",
    ):
        assert read[name].tolist() == expected[name].tolist()


def test_only_chosen_trials_are_exported(folder: Folder, tmp_path: Path) -> None:
    folder.finish("waiting 0", "other 0", "other 1")
    folder.call("export", "--output", tmp_path / "records.csv", "--methods", "other", "--seeds", "1")
    assert pd.read_csv(tmp_path / "records.csv")["trial"].tolist() == [folder.at("other 1").name]


def test_texts_that_a_spreadsheet_would_run_are_made_harmless(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.finish("waiting 0")

    def hostile(*arguments: Any) -> Any:
        for key, record in read_all(*arguments):
            yield key, {**record, "trial": {**record["trial"], "weights": "=1+1"}, "petl_bench": "@SUM(A1)"}

    monkeypatch.setattr(exporting, "read_all", hostile)
    folder.call("export", "--output", tmp_path / "records.csv")
    row = pd.read_csv(tmp_path / "records.csv").iloc[0]
    assert (row["weights"], row["petl_bench"]) == ("'=1+1", "'@SUM(A1)")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-x", "'-x"),
        ("@a", "'@a"),
        ("\t=1", "'=1"),
        ("a=b", "a=b"),
        ("a\r\n=b", "a =b"),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_cells(value: Any, expected: Any) -> None:
    assert cell(value) == expected


def test_numbers_keep_every_digit(folder: Folder, tmp_path: Path) -> None:
    records = pd.DataFrame({"value": [0.1 + 0.2, 1e-300, np.nan], "shots": pd.array([16, None, 2], dtype="Int64")})
    assert exporting._csv(records).decode().splitlines()[1:] == ["0.30000000000000004,16", "1e-300,", ",2"]


def test_a_damaged_trial_is_left_out_and_named(folder: Folder, tmp_path: Path) -> None:
    path, _ = folder.finish("waiting 0", "other 0")
    (path / "details.json").unlink()
    done = folder.call("export", "--output", tmp_path / "records.csv")
    assert done.return_value == 1
    assert f"left out: {path / 'details.json'}: is gone" in done.stderr
    assert len(pd.read_csv(tmp_path / "records.csv")) == 1


def test_parquet_without_pyarrow_is_an_error_for_people(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.finish("waiting 0")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        folder.call("export", "--output", tmp_path / "records.parquet")
    assert not (tmp_path / "records.parquet").exists()


def test_parquet_gives_the_records_back(folder: Folder, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder.finish("waiting 0", "other 1")
    folder.call("export", "--output", tmp_path / "records.parquet")
    with pd.option_context("mode.string_storage", "python"):  # as the frame of records keeps texts
        read = pd.read_parquet(tmp_path / "records.parquet")
    pd.testing.assert_frame_equal(read, pb.load_records(folder.runs))


def test_wrong_use_is_told(folder: Folder, tmp_path: Path) -> None:
    for arguments, says in (
        ([], "say what to write"),
        (["--output", tmp_path / "records.xlsx"], "end of the name"),
        (["--output", tmp_path / "records.csv"], "no finished trial"),
        (["waiting toys split 1 seed 0", "--output", tmp_path / "records.csv"], "is missing: there is no record"),
    ):
        with pytest.raises(UsageError, match=says):
            folder.call("export", *arguments)
    assert list(tmp_path.glob("records*")) == []

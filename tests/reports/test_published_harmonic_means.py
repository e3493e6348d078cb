from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.errors import UsageError
from petl_bench.records.frame import frame
from tests.commands import petl_bench


def _table(changed: float | None = None) -> Table:
    source = TABLES.get("published_harmonic_means")()
    published = source.published()
    if changed is not None:
        here = (published["table"] == "2") & (published["method"] == "LoRA") & (published["dataset"] == "ssv2")
        published.loc[here & (published["metric"] == "harmonic_mean"), "value"] = changed
    table: Table = source.build(Evidence(frame([]), published))
    return table


def test_every_printed_row_with_three_numbers_is_checked() -> None:
    rows = [row for group in _table().groups for row in group.rows]
    assert len(rows) == 13 * 4 + 4 + 4 + 4 + 3 + 3 + 5 + 4
    for row in rows:
        base, novel, printed, recomputed, low, high = (cell.value for cell in row.cells)
        assert recomputed == harmonic_mean(base, novel)
        assert low < recomputed < high
        assert low - 0.05 <= printed <= high + 0.05
        assert [cell.origin for cell in row.cells] == ["quoted"] * 3 + ["run"] * 3


def test_a_disagreement_is_listed_first() -> None:
    """16.0 is printed; accuracies printed as 19.5 and 13.6 allow 15.97 to 16.07."""
    assert not _table(16.0).groups[0].section.startswith("disagrees")
    first = _table(16.2).groups[0]
    assert first.section.startswith("disagrees")
    assert [row.label for row in first.rows] == ["Table 2: ssv2, LoRA (efficient-transfer)"]
    assert first.rows[0].display == "Table 2: SSv2, LoRA (efficient-transfer)"
    assert "Disagreements: 1." in _table(16.2).footers


def test_another_last_digit_may_be_rounding() -> None:
    first = _table(16.1).groups[0]
    assert first.section.startswith("agrees within rounding")
    assert "Table 2: ssv2, LoRA (efficient-transfer)" in [row.label for row in first.rows]


def test_it_needs_no_folder_of_runs(tmp_path: Path) -> None:
    done = petl_bench("report", "--table", "published_harmonic_means", "--format", "csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Table 7" in done.stdout


def test_without_published_numbers_there_is_nothing_to_show() -> None:
    with pytest.raises(UsageError, match="--no-published"):
        TABLES.get("published_harmonic_means")().build(Evidence(frame([])))

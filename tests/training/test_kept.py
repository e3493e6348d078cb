"""Values of a list that is gone through lie in memory once: there is room for all rows from the first ones on."""

from __future__ import annotations

import io

import torch

from petl_bench.training.kept import Part


def part(rows: list[int], width: int = 3) -> Part:
    return Part(1, rows, torch.tensor(rows, dtype=torch.float32)[:, None] + torch.arange(width) / 10)


def test_rows_are_added_where_there_is_room_for_them() -> None:
    whole = Part(0, [], torch.empty(0)).and_then([part([0, 2]), part([4])], 2, 8)
    place = whole.values.data_ptr()
    more = whole.and_then([part([1, 3]), Part(1, [], torch.empty(0)), part([7, 5])], 3, 8)
    assert more.values.data_ptr() == place
    assert (more.batches, more.rows, whole.rows) == (5, [0, 2, 4, 1, 3, 7, 5], [0, 2, 4])
    assert torch.equal(more.values, part(more.rows).values) and torch.equal(whole.values, part(whole.rows).values)
    ordered = more.in_order()
    assert ordered.values.data_ptr() == place and ordered.rows == [0, 1, 2, 3, 4, 5, 7]
    assert torch.equal(ordered.values, part(ordered.rows).values)


def test_many_columns_are_put_in_order_some_at_a_time() -> None:
    ordered = Part(0, [], torch.empty(0)).and_then([part([2, 0], 2500), part([1], 2500)], 2).in_order()
    assert torch.equal(ordered.values, part([0, 1, 2], 2500).values)


def test_what_is_saved_has_no_room_behind_it() -> None:
    whole = Part(0, [], torch.empty(0)).and_then([part([0, 1])], 1, 100_000)
    file = io.BytesIO()
    torch.save(whole.stored(), file)
    assert file.tell() < 5_000
    read = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert torch.equal(read, whole.values)
    further = Part(1, whole.rows, read).and_then([part([2])], 1, 3)  # as the next attempt goes on
    assert torch.equal(further.values, part([0, 1, 2]).values)

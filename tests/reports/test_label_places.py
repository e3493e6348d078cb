from __future__ import annotations

import itertools
import math

from hypothesis import example, given
from hypothesis import strategies as st

from petl_bench.render.label_places import are_apart, place

FRAME = (0.0, 0.0, 250.0, 180.0)


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def test_a_lonely_label_stands_right_of_its_point() -> None:
    [box] = place([(100.0, 90.0)], [(40.0, 8.0)], FRAME, gap=5.0)
    assert box == (105.0, 86.0, 145.0, 94.0)


def test_at_the_right_edge_it_stands_left() -> None:
    [box] = place([(245.0, 90.0)], [(40.0, 8.0)], FRAME, gap=5.0)
    assert box == (200.0, 86.0, 240.0, 94.0)


def test_points_and_lines_are_left_free() -> None:
    point, line = (103.0, 80.0, 160.0, 100.0), (40.0, 89.0, 97.0, 91.0)
    [box] = place([(100.0, 90.0)], [(40.0, 8.0)], FRAME, solid=[point], thin=[line], gap=5.0)
    assert _shared(box, point) == 0
    assert _shared(box, line) == 0


_ANCHORS = st.lists(st.tuples(st.floats(20, 230), st.floats(20, 160)), min_size=1, max_size=5)


@given(_ANCHORS)
@example([(83.0, 78.0), (43.5, 71.0)])  # a small overlap was once cheaper than another place
def test_a_few_labels_never_cover_one_another_and_stay_inside(anchors: list[tuple[float, float]]) -> None:
    boxes = place(anchors, [(40.0, 8.0)] * len(anchors), FRAME)
    assert all(_shared(one, other) < 1e-6 for one, other in itertools.combinations(boxes, 2))
    assert all(math.isclose(_shared(box, FRAME), 320.0) for box in boxes)
    assert boxes == place(anchors, [(40.0, 8.0)] * len(anchors), FRAME)


def test_no_line_to_a_label_runs_through_another_label() -> None:
    anchors = [(100.0 + 12 * number, 90.0) for number in range(6)]
    boxes = place(anchors, [(60.0, 8.0)] * 6, FRAME, gap=5.0)
    assert are_apart(boxes)
    for (x, y), box in zip(anchors, boxes, strict=True):
        end = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
        line = [(x + part * (end[0] - x), y + part * (end[1] - y)) for part in (0.2, 0.4, 0.6, 0.8)]
        others = [each for each in boxes if each != box]
        assert not any(left < at < right and low < up < high for at, up in line for left, low, right, high in others)


def test_boxes_that_touch_are_not_apart() -> None:
    assert are_apart([])
    assert are_apart([(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0)])
    assert not are_apart([(0.0, 0.0, 1.0, 1.0), (0.9, 0.9, 2.0, 2.0)])


def test_labels_of_two_points_do_not_read_as_lines_of_one() -> None:
    one, other = place([(50.0, 50.0), (50.0, 41.0)], [(40.0, 8.0)] * 2, (0.0, 0.0, 200.0, 100.0))
    assert _shared((one[0] - 2, one[1] - 3, one[2] + 2, one[3] + 3), other) == 0


def test_an_error_bar_runs_through_no_label_that_has_room_elsewhere() -> None:
    bar = (60.0, 0.0, 64.0, 100.0)
    (label,) = place([(40.0, 50.0)], [(20.0, 8.0)], (0.0, 0.0, 200.0, 100.0), thin=[bar])
    assert _shared(label, bar) == 0

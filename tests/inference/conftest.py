"""Finished trials and videos, as those of tests/searching."""

from tests.searching.conftest import trained as trained
from tests.searching.conftest import videos as videos

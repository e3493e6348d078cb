"""The synthetic records that reports are tested with."""

from tests.reports.conftest import example, runs, store  # noqa: F401 - fixtures

"""Numbers from records: what is compared, intervals, tests."""

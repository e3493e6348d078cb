"""Tables from numbers, for any renderer."""

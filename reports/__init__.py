"""One file = one table or figure: a pure function from records and published numbers."""

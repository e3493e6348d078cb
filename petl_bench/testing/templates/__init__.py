"""What `petl-bench new KIND NAME` writes, as files that work as they are; checks of other kinds use them as toys.

`template_KIND` and `TemplateKind` become the name that the user gives.
"""

"""The one error of this package."""


class ExportError(Exception):
    """What was wrong, where, and what to do, in one line. The command prints it and ends with 1."""

"""Lets a parameter named `raw` be its own id, verbatim; pytest escapes all other ids."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Answers for `raw` alone."""
    return str(val) if argname == "raw" else None

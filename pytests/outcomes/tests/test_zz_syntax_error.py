"""A file that does not compile, in disguise so that formatters and linters can read it."""

import ast

ast.parse("def broken(:\n    pass\n", "generated.py")


def test_never_collected() -> None:
    assert True

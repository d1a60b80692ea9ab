"""The extension is initialised once, by the process that runs the test."""

import importlib.util
import os

import legacy_ext


def test_fixture_initialised_it(initialised: bool) -> None:
    assert initialised


def test_second_time_does_nothing() -> None:
    assert not legacy_ext.initialize()


def test_owner_is_this_process() -> None:
    assert legacy_ext.owner() == os.getpid()


def test_environment_is_as_the_workaround_has_it() -> None:
    assert os.environ["PYO3_NO_PYTHON_VERSION_CHECK"] == "1"


def test_native_module_lies_in_the_package() -> None:
    native = importlib.util.find_spec("legacy_ext._native")
    assert native is not None and native.origin is not None
    assert native.origin.endswith(".so")
    assert os.path.dirname(native.origin) == os.path.dirname(legacy_ext.__file__)

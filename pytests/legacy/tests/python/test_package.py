"""The Python half, each line and branch of it."""

import legacy_ext


def test_report_of_nothing() -> None:
    assert legacy_ext.report() == "mode default, nothing registered"


def test_report_of_names() -> None:
    legacy_ext.set_mode("fast")
    assert legacy_ext.register_all(["one", "two"]) == []
    assert legacy_ext.report() == "mode fast, 2 registered: one, two"


def test_register_all_gives_back_what_was_known() -> None:
    legacy_ext.register("one")
    assert legacy_ext.register_all(["one", "two", "two"]) == ["one", "two"]


def test_all_is_complete() -> None:
    assert sorted(legacy_ext.__all__) == legacy_ext.__all__
    assert all(hasattr(legacy_ext, name) for name in legacy_ext.__all__)

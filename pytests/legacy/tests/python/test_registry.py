"""State that no test can reset. Each test is right alone; without `--forked` most of them fail."""

import legacy_ext
import pytest


def test_first_name_has_number_one() -> None:
    assert legacy_ext.register("alpha") == 1


def test_another_first_name_has_number_one() -> None:
    assert legacy_ext.register("beta") == 1


def test_registry_is_empty() -> None:
    assert legacy_ext.names() == []


def test_names_keep_their_order() -> None:
    for name in ("gamma", "alpha", "beta"):
        legacy_ext.register(name)
    assert legacy_ext.names() == ["gamma", "alpha", "beta"]


def test_name_is_registered_once() -> None:
    legacy_ext.register("delta")
    with pytest.raises(legacy_ext.RegistryError, match='"delta" is registered already'):
        legacy_ext.register("delta")


@pytest.mark.parametrize("mode", ["fast", "safe"])
def test_mode_is_set_once(mode: str) -> None:
    legacy_ext.set_mode(mode)
    assert legacy_ext.mode() == mode
    with pytest.raises(legacy_ext.RegistryError, match=f'the mode is "{mode}" already'):
        legacy_ext.set_mode("other")

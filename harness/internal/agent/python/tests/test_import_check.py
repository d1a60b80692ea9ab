"""What the tests import must be what was built: a stale or foreign module must not go unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Suite, built

PASSES = "def test_1(): pass\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return the folder where the build put a module and a package with another."""
    (tmp_path / "site" / "pack").mkdir(parents=True)
    (tmp_path / "site" / "native.py").write_text("HERE = 'built'\n")
    (tmp_path / "site" / "pack" / "__init__.py").write_text("")
    (tmp_path / "site" / "pack" / "core.py").write_text("")
    return tmp_path / "site"


def options(site: Path) -> dict[str, Any]:
    """Return a start command with both modules."""
    modules = [built(site / "native.py"), built(site / "pack" / "core.py", "pack.core")]
    return {"imports": modules, "env": {"PYTHONPATH": str(site)}}


def test_what_was_built(suite: Suite, site: Path) -> None:
    suite.write(
        test_a="""
        import os, sys, types
        import native, pack.core
        def test_1(monkeypatch):
            os.chdir("/")
            monkeypatch.setitem(sys.modules, "native", None)
        def test_stand_in(): sys.modules["native"] = types.ModuleType("native")
        """
    )
    run = suite.run(**options(site))
    assert run.of("foreign") == [] and set(run.verdicts().values()) == {"passed"}


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("code", ["import native\n", "try:\n    import native\nexcept ImportError: pass\n", ""])
def test_a_module_before_it_on_the_path(suite: Suite, site: Path, code: str, isolation: str) -> None:
    """pytest puts a conftest.py's folder first on sys.path: a module there is reported, imported yet or not."""
    run = suite.write(conftest="", native="HERE = 'sources'\n", test_a=code + PASSES).run(
        isolation=isolation, **options(site)
    )
    told = run.one("foreign")
    assert told["module"] == "native" and told["file"] == str(suite.folder / "native.py")
    assert told["built"] == str(site / "native.py")
    assert set(run.verdicts().values()) == {"passed"}


def test_a_module_that_refuses_to_be_imported(suite: Suite, site: Path) -> None:
    suite.write(
        conftest="",
        native="raise ImportError('not built')\n",
        test_a="import pytest\npytest.importorskip('native', exc_type=ImportError)\n" + PASSES,
        test_b=PASSES,
    )
    assert suite.run(**options(site)).one("foreign")["file"] == str(suite.folder / "native.py")


def test_a_package_before_it_on_the_path(suite: Suite, site: Path) -> None:
    (suite.folder / "pack").mkdir()
    (suite.folder / "pack" / "__init__.py").write_text("")
    run = suite.write(conftest="", test_a="import pack\n" + PASSES).run(**options(site))
    told = run.one("foreign")
    assert (told["module"], told["built"]) == ("pack", str(site / "pack"))
    assert told["file"] == str(suite.folder / "pack" / "__init__.py")


def test_a_path_without_it(suite: Suite, site: Path) -> None:
    run = suite.write(conftest=f"import sys\nsys.path.remove({str(site)!r})\n", test_a=PASSES).run(**options(site))
    assert {(told["module"], told["file"]) for told in run.of("foreign")} == {
        ("native", "nowhere"),
        ("pack", "nowhere"),
    }


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_an_import_inside_a_test(suite: Suite, site: Path, isolation: str) -> None:
    other = site.parent / "other"
    other.mkdir()
    (other / "native.py").write_text("")
    suite.write(
        test_a=f"import sys\ndef test_1():\n    sys.path.insert(0, {str(other)!r})\n    import native\n"
        + PASSES.replace("1", "2")
    )
    run = suite.run(isolation=isolation, **options(site))
    assert run.of("foreign") == []
    assert run.verdicts() == {"test_a.py::test_1": "error", "test_a.py::test_2": "passed"}
    assert run.report("test_1", "teardown")["longrepr"] == (
        f"the test imported native from {other}/native.py, which is not what was built: {site}/native.py"
    )


def test_a_file_that_is_changed(suite: Suite, site: Path) -> None:
    """By a conftest that runs a build itself, for example."""
    target = str(site / "native.py")
    suite.write(conftest=f"with open({target!r}, 'a') as file: file.write('# new\\n')\n", test_a=PASSES)
    assert suite.run(**options(site)).one("foreign")["file"] == "a file that was changed since"


def test_a_file_that_was_changed_before(suite: Suite, site: Path) -> None:
    start = options(site)
    (site / "native.py").write_text("")
    run = suite.write(test_a=PASSES).run(**start)
    told = run.one("import", module="native")
    assert not told["ok"] and told["error"].startswith(f"{site}/native.py is not the file that was built")
    assert run.of("started") == []


def test_a_foreign_module_at_the_first_import(suite: Suite, site: Path) -> None:
    start = options(site)
    start["imports"][0]["file"] = str(suite.folder / "native.py")
    run = suite.write(test_a=PASSES).run(**start)
    told = run.one("import", module="native")
    assert told["error"] == f"it was imported from {site}/native.py, and what was built is {suite.folder}/native.py"

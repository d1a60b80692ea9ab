"""What `unittest.TestCase` can do, as pytest sees it."""

import unittest


class TestOutcomes(unittest.TestCase):
    """Each outcome of a method."""

    def test_passes(self) -> None:
        self.assertEqual(1 + 1, 2)

    def test_fails(self) -> None:
        self.assertEqual(1 + 1, 3, "said by unittest")

    def test_raises(self) -> None:
        raise RuntimeError("raised in a TestCase")

    def test_skips(self) -> None:
        self.skipTest("skipped by unittest")

    @unittest.skip("skipped by a decorator")
    def test_is_skipped(self) -> None:
        self.fail("never runs")

    @unittest.expectedFailure
    def test_fails_as_expected(self) -> None:
        self.fail("expected")

    @unittest.expectedFailure
    def test_passes_unexpectedly(self) -> None:
        self.assertTrue(True)


class TestSubTests(unittest.TestCase):
    """unittest's own subtests."""

    def test_one_fails(self) -> None:
        for number in range(3):
            with self.subTest("number", number=number):
                self.assertNotEqual(number, 1)


class TestBrokenSetUp(unittest.TestCase):
    """An exception in setUp belongs to the call, as unittest has it."""

    def setUp(self) -> None:
        raise RuntimeError("setUp broke")

    def test_never_runs(self) -> None:
        self.fail("never runs")


class TestBrokenClass(unittest.TestCase):
    """setUpClass is a fixture to pytest, so this is an error."""

    @classmethod
    def setUpClass(cls) -> None:
        raise RuntimeError("setUpClass broke")

    def test_never_runs(self) -> None:
        self.fail("never runs")

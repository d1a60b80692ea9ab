"""What the tests call in another file: a failure in here must be reported with this file's name."""


def check_even(number: int) -> None:
    """Fails for odd numbers."""
    if number % 2:
        raise AssertionError(f"{number} is odd")

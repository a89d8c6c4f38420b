"""Whatever is set to whatever: one sentence before work begins, or it is legal."""

import collections

import pytest
from wrong_input import malformed_lines, wrong_settings


def check(outcomes: list[tuple[str, str]], least: float) -> None:
    """All are sentences or legal, and most are refused: else nothing was tried."""
    neither = [f"{tried}: {result}" for tried, result in outcomes if result not in ("refused", "legal")]
    assert not neither, "\n".join(neither)
    refused = collections.Counter(result for _, result in outcomes)["refused"]
    assert refused >= least * len(outcomes)


def test_wrong_settings_are_one_sentence() -> None:
    check(list(wrong_settings(seed=0, count=100)), least=0.8)


def test_malformed_command_lines_are_one_sentence() -> None:
    check(list(malformed_lines(seed=0, count=25)), least=0.8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hundreds_of_both_are(seed: int) -> None:
    check(list(wrong_settings(seed, count=1000)), least=0.8)
    check(list(malformed_lines(seed, count=150)), least=0.8)

"""What tests share: digits cut to a size at which the slow trainer is quick."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest

for name in ("FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS", "COLUMNS", "LINES"):
    os.environ.pop(name, None)  # what the terminal library would take for a terminal, before anything imports it

from irm_study.data import (  # noqa: E402
    Digits,
    load_digits,
)

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:  # as under nohup, and of a script's background commands
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def interruptible():
    """Each test begins with the handlers of Ctrl-C and the like that the tests were started with."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def embedded() -> Digits:
    return load_digits("embedded")


@pytest.fixture(scope="session")
def few(embedded: Digits) -> Digits:
    """600 real digits, the last 120 of them for the test environment."""
    return dataclasses.replace(embedded, images=embedded.images[:600], labels=embedded.labels[:600], test_digits=120)


@pytest.fixture(scope="session")
def mnist() -> Digits:
    """The real 60,000, where they are at hand."""
    if not os.environ.get("IRM_STUDY_DATA"):
        pytest.skip("needs MNIST: set IRM_STUDY_DATA to a folder with MNIST/raw")
    return load_digits("mnist")

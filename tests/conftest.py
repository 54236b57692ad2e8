"""What tests share: digits cut to a size at which the slow trainer is quick."""

from __future__ import annotations

import dataclasses
import os

import pytest

from irm_study.digits import Digits, load_digits


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

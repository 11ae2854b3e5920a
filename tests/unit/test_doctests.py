"""The examples in the docstrings run and show what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import derivations


def modules() -> list[str]:
    """All modules of the symbolic library."""
    return sorted(found.name for found in pkgutil.walk_packages(derivations.__path__, "derivations."))


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    failures = doctest.testmod(importlib.import_module(name)).failed
    assert failures == 0, f"{failures} examples of {name} fail; run python -m doctest on it"


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    count = sum(len(test.examples) for name in modules() for test in finder.find(importlib.import_module(name)))
    assert count > 200

"""Fixtures of the generator's tests: a chat-completions server on loopback, and the kit that drives the loop."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agents.archive.store import Archive

# The keys of whoever runs the tests are none of the tests' business, neither here nor in a process that one starts.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


def _load(name: str, file: Path) -> ModuleType:
    # Test folders are no packages, so what they share is loaded by its path.
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_SERVER = _load("touchstone_chat_server", Path(__file__).parent / "llm" / "chat_server.py")
_KIT = _load("touchstone_loop_kit", Path(__file__).parent / "loop_kit.py")


@pytest.fixture
def chat_server() -> Iterator[Any]:
    """A running `ChatServer` (see chat_server.py); its answers are added by the test."""
    with _SERVER.ChatServer() as server:
        yield server


@pytest.fixture
def second_server() -> Iterator[Any]:
    """Another one, which must not be asked."""
    with _SERVER.ChatServer() as server:
        yield server


@pytest.fixture(scope="session")
def kit() -> Any:
    """What the tests of the loop share (see loop_kit.py)."""
    return _KIT


@pytest.fixture
def archive() -> Iterator[Archive]:
    """An empty archive in memory."""
    with Archive.in_memory() as empty:
        yield empty

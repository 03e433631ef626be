"""Fixtures of the generator's tests: a chat-completions server on loopback."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).parent / "llm" / "chat_server.py"
_SPEC = importlib.util.spec_from_file_location("touchstone_chat_server", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["touchstone_chat_server"] = _MODULE
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture
def chat_server() -> Iterator[Any]:
    """A running `ChatServer` (see chat_server.py); its answers are added by the test."""
    with _MODULE.ChatServer() as server:
        yield server


@pytest.fixture
def second_server() -> Iterator[Any]:
    """Another one, which must not be asked."""
    with _MODULE.ChatServer() as server:
        yield server

"""Keys: the environment first, then the system's keyring; never to another host, never in a text."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backtesting.errors import EndpointError
from generator.llm.address import parse_address
from generator.llm.clients import Settings, key_of, open_client
from generator.llm.keys import NO_KEY, api_key, find_key, keyring_name, system_keyring
from generator.llm.openai_client import OpenAIClient

VENDOR = parse_address("openai:m")
OTHER = parse_address("openai:m@https://models.example.org:8443/v1")
LOCAL = parse_address("openai:m@http://localhost:1/v1")
STORED = {"OPENAI_API_KEY": "sk-vendor-1", "models.example.org:8443": "sk-other-2", "ANTHROPIC_API_KEY": "sk-ant-3"}


def test_key_is_read_from_the_environment_that_is_passed_in() -> None:
    key = api_key(VENDOR, {"OPENAI_API_KEY": " sk-abc \n"})
    assert key.reveal() == "sk-abc"
    assert "abc" not in f"{key} {key!r}"


def test_missing_key_is_fine_on_this_machine_only() -> None:
    assert api_key(LOCAL, {}) == NO_KEY
    with pytest.raises(EndpointError, match=r"OPENAI_API_KEY is not set.*--llm none") as caught:
        api_key(VENDOR, {})
    assert "keyring set touchstone OPENAI_API_KEY" in caught.value.next_step


@pytest.mark.parametrize("text", ["sk-one sk-two", "sk-ключ", "sk-a\nb"])
def test_what_cannot_be_a_key_is_not_quoted(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        api_key(VENDOR, {"OPENAI_API_KEY": text})
    assert "sk-" not in str(caught.value)
    with pytest.raises(EndpointError, match="the system's keyring") as caught:
        api_key(VENDOR, {}, {"OPENAI_API_KEY": text}.get)
    assert "sk-" not in str(caught.value)


def test_the_environment_wins_over_the_keyring() -> None:
    found = find_key(VENDOR, {"OPENAI_API_KEY": "sk-env-0"}, STORED.get)
    assert found is not None
    assert (found.secret.reveal(), found.origin) == ("sk-env-0", "the environment (OPENAI_API_KEY)")


def test_the_keyring_has_an_entry_for_each_server_so_that_no_key_goes_to_another() -> None:
    vendor, other = find_key(VENDOR, {}, STORED.get), find_key(OTHER, {}, STORED.get)
    assert vendor is not None
    assert other is not None
    assert (vendor.secret.reveal(), other.secret.reveal()) == ("sk-vendor-1", "sk-other-2")
    assert other.origin == "the system's keyring (touchstone, models.example.org:8443)"
    assert "sk-" not in f"{vendor} {other}"
    assert find_key(parse_address("openai:m@https://elsewhere.example.org/v1"), {}, STORED.get) is None
    assert keyring_name(parse_address("langchain:anthropic:claude"), "ANTHROPIC_API_KEY") == "ANTHROPIC_API_KEY"


def test_the_keyring_is_not_asked_for_a_server_on_this_machine_nor_where_the_environment_knows() -> None:
    asked: list[str] = []

    def asking(name: str) -> str | None:
        asked.append(name)
        return None

    find_key(LOCAL, {}, asking)
    find_key(VENDOR, {"OPENAI_API_KEY": "sk-env-0"}, asking)
    assert asked == []
    find_key(VENDOR, {}, asking)
    assert asked == ["OPENAI_API_KEY"]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("openai:m", "sk-vendor-1"),
        ("record:folder->openai:m", "sk-vendor-1"),
        ("langchain:openai:m", "sk-vendor-1"),
        ("langchain:anthropic:claude", "sk-ant-3"),
        ("langchain:ollama:qwen", None),
        ("langchain:whoever:m", None),
        ("scripted:file.jsonl", None),
        ("none", None),
    ],
)
def test_each_kind_of_address_has_its_own_key_or_none(address: str, key: str | None) -> None:
    found = key_of(parse_address(address), {}, STORED.get)
    assert (None if found is None else found.secret.reveal()) == key


def test_a_client_is_opened_with_the_key_of_the_keyring() -> None:
    client = open_client(VENDOR, Settings(environ={}, rng=np.random.default_rng(1), keyring=STORED.get))
    assert isinstance(client, OpenAIClient)
    assert client._key.reveal() == "sk-vendor-1"


# --- the system's own ------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package `keyring` as far as we use it."""
    package, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    package.get_password = lambda service, name: f"{service}/{name}"  # type: ignore[attr-defined]
    package.errors = errors  # type: ignore[attr-defined]
    errors.NoKeyringError = type("NoKeyringError", (RuntimeError,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", package)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return SimpleNamespace(package=package, errors=errors)


def test_the_system_is_asked_for_our_service(fake: Any) -> None:
    assert system_keyring("OPENAI_API_KEY") == "touchstone/OPENAI_API_KEY"


def test_no_keyring_and_no_package_for_it_are_no_key(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(service: str, name: str) -> str:
        raise fake.errors.NoKeyringError("no backend")

    fake.package.get_password = nobody
    assert system_keyring("OPENAI_API_KEY") is None
    monkeypatch.setitem(sys.modules, "keyring", None)  # what an import of a package that is not there meets
    assert system_keyring("OPENAI_API_KEY") is None


def test_a_locked_keyring_is_a_sentence_and_quotes_no_key(fake: Any) -> None:
    def locked(service: str, name: str) -> str:
        raise OSError("the collection is locked, tried sk-secret-12345")

    fake.package.get_password = locked
    with pytest.raises(EndpointError, match=r"keyring did not answer for OPENAI_API_KEY: OSError: .*locked") as caught:
        system_keyring("OPENAI_API_KEY")
    assert "secret" not in str(caught.value)
    assert "unlock it" in caught.value.next_step


@pytest.fixture
def in_memory() -> Iterator[dict[tuple[str, str], str]]:
    """The real package with a keyring that forgets."""
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    kept: dict[tuple[str, str], str] = {}

    class InMemory(KeyringBackend):  # type: ignore[misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            kept[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del kept[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield kept
    keyring.set_keyring(before)


def test_the_real_package_gives_what_was_set_in_it(in_memory: dict[tuple[str, str], str]) -> None:
    import keyring

    assert system_keyring("OPENAI_API_KEY") is None
    keyring.set_password("touchstone", "OPENAI_API_KEY", "sk-real-4")
    assert api_key(VENDOR, {}, system_keyring).reveal() == "sk-real-4"


def test_the_real_package_without_a_backend_is_no_key() -> None:
    keyring = pytest.importorskip("keyring")
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        assert system_keyring("OPENAI_API_KEY") is None
    finally:
        keyring.set_keyring(before)

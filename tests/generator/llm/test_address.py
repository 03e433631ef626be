from pathlib import Path

import pytest

from backtesting.errors import UsageError
from generator.llm.address import OPENAI_URL, is_loopback, parse_address


def test_model_alone_means_the_vendor() -> None:
    address = parse_address("openai:gpt-4o-mini")
    assert (address.model, address.base_url, address.text) == ("gpt-4o-mini", OPENAI_URL, "openai:gpt-4o-mini")
    assert address.is_vendor
    assert not address.is_loopback


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("openai:qwen3:8b@http://localhost:11434/v1/", "qwen3:8b", "http://localhost:11434/v1"),
        ("openai:meta/llama-3.1@https://API.example.com:443/v1", "meta/llama-3.1", "https://api.example.com/v1"),
        ("openai:m@20240229@https://example.com/v1", "m@20240229", "https://example.com/v1"),
        ("openai:m@http://127.0.0.1:8000", "m", "http://127.0.0.1:8000"),
        ("openai:m@http://[::1]:8000/v1", "m", "http://[::1]:8000/v1"),
        ("  openai:m@https://example.com/v1  ", "m", "https://example.com/v1"),
    ],
)
def test_model_and_base_url_are_told_apart(text: str, model: str, url: str) -> None:
    address = parse_address(text)
    assert (address.model, address.base_url) == (model, url)
    assert parse_address(address.text) == address


def test_same_server_in_other_spelling_is_the_same_address() -> None:
    assert parse_address("openai:m@HTTPS://Example.com:443/v1/") == parse_address("openai:m@https://example.com/v1")


def test_vendor_spelled_out_is_the_vendor() -> None:
    assert parse_address(f"openai:m@{OPENAI_URL}/") == parse_address("openai:m")


def test_none_and_scripted() -> None:
    assert parse_address("none").kind == "none"
    assert parse_address("scripted:a/b.jsonl").path == Path("a/b.jsonl")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "unknown model address ''"),
        ("opnai:gpt", "did you mean 'openai'?"),
        ("langchain:anthropic", "names no provider and model"),
        ("langchain:Anthropic:x", "names no provider and model"),
        ("langchain:anthropic:", "is not a model name"),
        ("langchain:openai:m@http://example.com/v1", "is not encrypted"),
        ("replay:", "names no folder"),
        ("manual:", "names no folder"),
        ("record:folder", "names no folder and address"),
        ("record:->openai:m", "names no folder and address"),
        ("record:folder->none", "which asks no model"),
        ("record:folder->scripted:x", "which asks no model"),
        ("record:folder->openai:m@ftp://example.com", "has the scheme 'ftp'"),
        ("openai:", "is not a model name"),
        ("openai:two words", "is not a model name"),
        ("openai:https://example.com/v1", "no '@' between model and URL"),
        ("openai:m@localhost:8000/v1", "looks like a server without its scheme"),
        ("openai:m@localhost", "looks like a server without its scheme"),
        ("none:x", "takes nothing after it"),
        ("scripted:", "names no file"),
        ("openai:m@http://example.com/v1", "is not encrypted"),
        ("openai:m@ftp://example.com/v1", "has the scheme 'ftp'"),
        ("openai:m@file:///etc/passwd", "has the scheme 'file'"),
        ("openai:m@https://user:secret@example.com/v1", "holds a user name or password"),
        ("openai:m@https://example.com/v1?key=1", "has a query"),
        ("openai:m@https://example.com/v1#x", "has a query or a fragment"),
        ("openai:m@https:///v1", "names no host"),
        ("openai:m@https://example.com:99999/v1", "cannot be read"),
        ("openai:m@https://exämple.com/v1", "cannot hold"),
        ("openai:m@https://example.com\\@evil.com/v1", "cannot hold"),
        ("openai:m@https://-a.com/v1", "has no legal host name"),
        ("openai:m@http://169.254.169.254/latest", "metadata service|link-local"),
        ("openai:m@https://[::ffff:169.254.169.254]/v1", "link-local"),
        ("openai:m@https://[fe80::1]/v1", "link-local"),
        ("openai:m@https://[fd00:ec2::254]/v1", "metadata service"),
        ("openai:m@https://metadata.google.internal/v1", "metadata service"),
        ("openai:m@https://100.100.100.200/v1", "metadata service"),
        ("openai:m@http://0.0.0.0:8000/v1", "unspecified"),
        ("openai:m@https://2130706433/v1", "not an IP address"),
        ("openai:m@https://0x7f.1/v1", "not an IP address"),
        ("openai:m@http://0177.0.0.1/v1", "not an IP address"),
    ],
)
def test_bad_address_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)
    assert caught.value.next_step


def test_loopback_is_only_this_machine() -> None:
    assert all(is_loopback(host) for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(host) for host in ("localhost.evil.com", "192.168.0.1", "10.0.0.1", "example.com", ""))


@pytest.mark.parametrize(
    ("text", "provider", "model", "url"),
    [
        ("langchain:anthropic:claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5", ""),
        ("langchain:ollama:qwen3:8b@http://localhost:11434", "ollama", "qwen3:8b", "http://localhost:11434"),
        ("langchain:openai:m@https://API.example.com:443/v1/", "openai", "m", "https://api.example.com/v1"),
    ],
)
def test_langchain_address_names_provider_model_and_perhaps_a_server(
    text: str, provider: str, model: str, url: str
) -> None:
    address = parse_address(text)
    assert (address.kind, address.provider, address.model, address.base_url) == ("langchain", provider, model, url)
    assert parse_address(address.text) == address


@pytest.mark.parametrize("kind", ["record", "replay-or-live"])
def test_recording_has_a_folder_and_the_address_behind_it(kind: str) -> None:
    address = parse_address(f"{kind}:some/folder->openai:m@https://example.com/v1/")
    assert (address.kind, address.path) == (kind, Path("some/folder"))
    assert address.live == parse_address("openai:m@https://example.com/v1")
    assert parse_address(address.text) == address

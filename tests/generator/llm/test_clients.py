import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtesting.errors import EndpointError, UsageError
from generator.llm.address import KINDS, parse_address
from generator.llm.client import CompletionRequest, Message
from generator.llm.clients import CLIENTS, Settings, open_client

ASKED = CompletionRequest((Message("user", "?"),), max_output_tokens=10)


def settings(**environ: str) -> Settings:
    return Settings(environ=environ, rng=np.random.default_rng(1))


def test_every_kind_but_none_can_be_opened() -> None:
    assert set(CLIENTS) == set(KINDS.values()) - {"none"}
    with pytest.raises(UsageError, match="names no model"):
        open_client(parse_address("none"), settings())


def test_server_on_this_machine_needs_no_key(chat_server: Any) -> None:
    chat_server.add(chat_server.says("hello"))

    async def call() -> str | None:
        client = open_client(parse_address(f"openai:m@{chat_server.base_url}"), settings())
        answer = await client.complete(ASKED)
        await client.aclose()
        return answer.text

    assert asyncio.run(call()) == "hello"
    assert chat_server.requests[0].headers["authorization"] == "Bearer not-needed"


def test_vendor_without_a_key_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set"):
        open_client(parse_address("openai:gpt-4o-mini"), settings())


def test_script_is_opened_from_its_path(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text('{"text": "a"}\n')
    client = open_client(parse_address(f"scripted:{file}"), settings())
    assert asyncio.run(client.complete(ASKED)).text == "a"

"""CLIENTS: how each kind of model address is opened. A new kind is one entry here and one in `address.KINDS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backtesting.errors import UsageError
from generator.llm.address import NO_KEY, OPENAI_URL, Kind, ModelAddress, api_key
from generator.llm.client import LLMClient, Mode
from generator.llm.langchain_client import LangChainClient, environment_secrets, open_chat_model
from generator.llm.openai_client import OpenAIClient
from generator.llm.pace import Pace
from generator.llm.patience import DEFAULT_PATIENCE, Patience
from generator.llm.scripted import load_script
from generator.llm.transport import open_http, proxy_for


@dataclass(frozen=True)
class Settings:
    """What a client may need besides its address; each opener takes its part.

    Attributes:
        environ: the process environment, for keys and proxies.
        rng: randomness of waits; no result depends on it.
        mode: how a schema is asked for.
        patience: attempts and deadlines.
        pace: the limiter that the clients of a run share; None gives each its own.
    """

    environ: Mapping[str, str]
    rng: np.random.Generator
    mode: Mode = "schema"
    patience: Patience = DEFAULT_PATIENCE
    pace: Pace | None = None


def open_client(address: ModelAddress, settings: Settings) -> LLMClient:
    """The client for `address`; the caller closes it. Raises EndpointError without a key, UsageError for `none`."""
    if address.kind not in CLIENTS:
        raise UsageError(f"model address {address.text!r} names no model", next_step="leave the llm arm out")
    return CLIENTS[address.kind](address, settings)


def _openai(address: ModelAddress, settings: Settings) -> LLMClient:
    return OpenAIClient(
        address,
        api_key(address, settings.environ),
        rng=settings.rng,
        mode=settings.mode,
        patience=settings.patience,
        pace=settings.pace,
        proxy=proxy_for(address.base_url, settings.environ),
    )


def _langchain(address: ModelAddress, settings: Settings) -> LLMClient:
    http, key = None, None
    if address.provider == "openai":
        key = api_key(address, settings.environ)
        proxy = proxy_for(address.base_url or OPENAI_URL, settings.environ)
        http = open_http(read_seconds=settings.patience.attempt_seconds, proxy=proxy)
    return LangChainClient(
        address,
        open_chat_model(address, http=http, key=key),
        rng=settings.rng,
        mode=settings.mode,
        patience=settings.patience,
        pace=settings.pace,
        http=http,
        secrets=(*environment_secrets(settings.environ), *((key,) if key and key != NO_KEY else ())),
    )


def _scripted(address: ModelAddress, settings: Settings) -> LLMClient:
    if address.path is None:
        raise UsageError(f"model address {address.text!r} names no file", next_step="write scripted:PATH")
    return load_script(address.path)


CLIENTS: dict[Kind, Callable[[ModelAddress, Settings], LLMClient]] = {
    "openai": _openai,
    "langchain": _langchain,
    "scripted": _scripted,
}

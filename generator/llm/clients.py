"""CLIENTS: how each kind of model address is opened. A new kind is one entry here and one in `address.Kind`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backtesting.errors import UsageError
from generator.llm.address import OPENAI_URL, Kind, ModelAddress
from generator.llm.client import CompletionRequest, LLMClient, Mode
from generator.llm.keys import NO_KEY, FoundKey, Keyring, api_key, find_key, no_keyring
from generator.llm.langchain_client import (
    PROVIDERS,
    LangChainClient,
    environment_secrets,
    langchain_payload_id,
    open_chat_model,
)
from generator.llm.manual import ManualClient
from generator.llm.openai_client import OpenAIClient, openai_payload_id
from generator.llm.pace import Pace
from generator.llm.patience import DEFAULT_PATIENCE, Patience
from generator.llm.pricing import FREE, Price, price_of
from generator.llm.recorded import RecordedClient, Recording, recorded_address
from generator.llm.scripted import load_script
from generator.llm.transport import open_http, proxy_for


def _no_screen(text: str) -> None:
    """For clients that show nothing, and programs that read the files of `manual:` themselves."""


@dataclass(frozen=True)
class Settings:
    """What a client may need besides its address; each opener takes its part.

    Attributes:
        environ: the process environment, for keys and proxies.
        rng: randomness of waits; no result depends on it.
        mode: how a schema is asked for.
        patience: attempts and deadlines.
        pace: the limiter that the clients of a run share; None gives each its own.
        show: puts text on the screen of the person who answers `manual:`.
        keyring: where keys are looked for that the environment does not have.
    """

    environ: Mapping[str, str]
    rng: np.random.Generator
    mode: Mode = "schema"
    patience: Patience = DEFAULT_PATIENCE
    pace: Pace | None = None
    show: Callable[[str], None] = _no_screen
    keyring: Keyring = no_keyring


def open_client(address: ModelAddress, settings: Settings) -> LLMClient:
    """The client for `address`; the caller closes it. Raises EndpointError without a key, UsageError for `none`."""
    if address.kind not in CLIENTS:
        raise UsageError(f"model address {address.text!r} names no model", next_step="leave the llm arm out")
    return CLIENTS[address.kind](address, settings)


def _openai(address: ModelAddress, settings: Settings) -> LLMClient:
    return OpenAIClient(
        address,
        api_key(address, settings.environ, settings.keyring),
        rng=settings.rng,
        mode=settings.mode,
        patience=settings.patience,
        pace=settings.pace,
        proxy=proxy_for(address.base_url, settings.environ),
    )


def _langchain(address: ModelAddress, settings: Settings) -> LLMClient:
    http, key = None, None
    if address.provider != "openai":
        # A package reads the environment itself; what it cannot read is handed to it.
        found = key_of(address, settings.environ, settings.keyring)
        known = PROVIDERS.get(address.provider)
        in_environment = known is None or bool(settings.environ.get(known.key_variable, "").strip())
        key = None if found is None or in_environment else found.secret
    else:
        key = api_key(address, settings.environ, settings.keyring)
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


def key_of(address: ModelAddress, environ: Mapping[str, str], keyring: Keyring) -> FoundKey | None:
    """The key that a client at `address` would send, whoever reads it; None where none is set or none is known of."""
    behind = address.live or address
    if behind.kind == "langchain":
        provider = PROVIDERS.get(behind.provider)
        variable = "" if provider is None else provider.key_variable
        return find_key(behind, environ, keyring, variable=variable) if variable else None
    return find_key(behind, environ, keyring) if behind.kind == "openai" else None


def _scripted(address: ModelAddress, settings: Settings) -> LLMClient:
    return load_script(_path(address))


def _manual(address: ModelAddress, settings: Settings) -> LLMClient:
    return ManualClient(_path(address), show=settings.show)


def _replay(address: ModelAddress, settings: Settings) -> LLMClient:
    recording = Recording.read(_path(address))
    behind, mode = recorded_address(recording.folder)
    return RecordedClient(address, recording, _payload_id(behind, mode))


def _record(address: ModelAddress, settings: Settings) -> LLMClient:
    return _recording(address, settings, reuse=False)


def _replay_or_live(address: ModelAddress, settings: Settings) -> LLMClient:
    return _recording(address, settings, reuse=True)


def _recording(address: ModelAddress, settings: Settings, *, reuse: bool) -> LLMClient:
    behind = _live(address)
    live = open_client(behind, settings)
    recording = Recording.open(_path(address), behind.text, settings.mode)
    return RecordedClient(address, recording, live.payload_id, live=live, reuse=reuse)


CLIENTS: dict[Kind, Callable[[ModelAddress, Settings], LLMClient]] = {
    "openai": _openai,
    "langchain": _langchain,
    "scripted": _scripted,
    "manual": _manual,
    "replay": _replay,
    "record": _record,
    "replay-or-live": _replay_or_live,
}

# How the questions of a recorded address were named, without a key and without opening it.
_PAYLOAD_IDS: dict[Kind, Callable[[ModelAddress, Mode, CompletionRequest], str]] = {
    "openai": openai_payload_id,
    "langchain": langchain_payload_id,
}


def price_at(address: ModelAddress, prices: Mapping[str, Price]) -> Price | None:
    """What a token costs at `address`; None is "unpriced". Behind a recording it is the price of what is recorded."""
    if address.kind in ("replay", "manual"):
        return FREE
    return price_of((address.live or address).text, prices)


def _payload_id(address: ModelAddress, mode: Mode) -> Callable[[CompletionRequest], str]:
    if address.kind not in _PAYLOAD_IDS:
        raise UsageError(f"{address.text!r} is no address that is recorded", next_step="restore the recording's head")
    return partial(_PAYLOAD_IDS[address.kind], address, mode)


def _path(address: ModelAddress) -> Path:
    if address.path is None:
        raise UsageError(f"model address {address.text!r} names no path", next_step=f"write {address.kind}:PATH")
    return address.path


def _live(address: ModelAddress) -> ModelAddress:
    if address.live is None:
        raise UsageError(f"model address {address.text!r} has nothing to record", next_step="write FOLDER->ADDRESS")
    return address.live

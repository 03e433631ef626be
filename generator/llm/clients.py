"""CLIENTS: how each kind of model address is opened. A new kind is one entry here and one in `address.KINDS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backtesting.errors import UsageError
from generator.llm.address import Kind, ModelAddress, api_key
from generator.llm.client import LLMClient, Mode
from generator.llm.openai_client import OpenAIClient
from generator.llm.patience import DEFAULT_PATIENCE, Patience
from generator.llm.scripted import load_script
from generator.llm.transport import proxy_for


@dataclass(frozen=True)
class Settings:
    """What a client may need besides its address; each opener takes its part.

    Attributes:
        environ: the process environment, for keys and proxies.
        rng: randomness of waits; no result depends on it.
        mode: how a schema is asked for.
        patience: attempts and deadlines.
    """

    environ: Mapping[str, str]
    rng: np.random.Generator
    mode: Mode = "schema"
    patience: Patience = DEFAULT_PATIENCE


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
        proxy=proxy_for(address.base_url, settings.environ),
    )


def _scripted(address: ModelAddress, settings: Settings) -> LLMClient:
    if address.path is None:
        raise UsageError(f"model address {address.text!r} names no file", next_step="write scripted:PATH")
    return load_script(address.path)


CLIENTS: dict[Kind, Callable[[ModelAddress, Settings], LLMClient]] = {"openai": _openai, "scripted": _scripted}

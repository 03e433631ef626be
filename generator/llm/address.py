"""ModelAddress: which model to ask, as one word on the command line.

    openai:MODEL                          the vendor itself
    openai:MODEL@BASE_URL                 any server that speaks the same protocol
    langchain:PROVIDER:MODEL[@BASE_URL]   any provider that LangChain speaks to
    record:FOLDER->ADDRESS                another address, and every reply kept in a folder
    replay:FOLDER                         the kept replies, offline; a question without one stops the run
    replay-or-live:FOLDER->ADDRESS        the kept replies, and the address where there is none
    manual:FOLDER                         a person carries prompts and replies to and from any chat window
    scripted:PATH                         replies from a JSONL file, offline
    none                                  no model; other arms propose

A base URL comes from the user alone, never from a prompt, a reply or a strategy, and still it is checked: a prompt and
a key are about to be sent there. Host names are not resolved here, so a name that points to a forbidden address passes;
the address itself does not.
"""

import ipaddress
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from backtesting.errors import UsageError
from generator.llm.secret import one_line

Kind = Literal["none", "openai", "langchain", "scripted", "manual", "replay", "record", "replay-or-live"]
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
FORMS = (
    "none, openai:MODEL, openai:MODEL@BASE_URL, langchain:PROVIDER:MODEL, replay:FOLDER, 'record:FOLDER->ADDRESS', "
    "'replay-or-live:FOLDER->ADDRESS', manual:FOLDER, scripted:PATH"
)
ARROW = "->"
# Kinds that need a path and nothing else, and what the path is.
_PATHS: dict[Kind, str] = {"scripted": "FILE", "manual": "FOLDER", "replay": "FOLDER"}

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

_WITH_URL = re.compile(r"\A(?P<model>[^\s@]*(?:@[^\s@:/]+)*?)@(?P<url>[a-zA-Z][a-zA-Z0-9+.\-]*://.*)\Z")
_MODEL = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._:/@+\-]{0,199}\Z")
_PROVIDER = re.compile(r"\A[a-z][a-z0-9_]{1,39}\Z")
_HOST_NAME = re.compile(r"\A(?!-)[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*\.?\Z")
# Where clouds hand out credentials to whoever asks.
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "168.63.129.16"})


@dataclass(frozen=True)
class ModelAddress:
    """A parsed address.

    Attributes:
        text: the address in its one spelling; it names the client in the archive.
        kind: which client answers.
        model: model name for `openai` and `langchain`, "" otherwise.
        base_url: for `openai` always and for `langchain` where one was given, without a trailing slash; else "".
        path: the file for `scripted`, the folder for `manual` and the recordings, else None.
        provider: LangChain's name of it, "" otherwise.
        live: the address behind a recording, else None.
    """

    text: str
    kind: Kind
    model: str = ""
    base_url: str = ""
    path: Path | None = None
    provider: str = ""
    live: "ModelAddress | None" = None

    @property
    def is_loopback(self) -> bool:
        """True where the server is on this machine: no key is needed and plain http is fine."""
        return bool(self.base_url) and is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def is_vendor(self) -> bool:
        """True for the server whose key and prices are meant when no base URL is given."""
        return self.base_url == OPENAI_URL


def parse_address(text: str) -> ModelAddress:
    """The model address that `text` spells. Raises UsageError with the forms that are known."""
    kind, _, rest = text.strip().partition(":")
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown model address {one_line(text)!r}{hint}", next_step=f"use one of: {FORMS}")
    if kind == "none":
        if rest:
            raise UsageError(
                f"model address 'none' takes nothing after it, found {one_line(rest)!r}", next_step="drop it"
            )
        return ModelAddress("none", "none")
    found = KINDS[kind]
    if found in _PATHS:
        if not rest:
            raise UsageError(
                f"model address '{kind}:' names no {_PATHS[found].lower()}", next_step=f"write {kind}:{_PATHS[found]}"
            )
        return ModelAddress(f"{kind}:{rest}", found, path=Path(rest))
    if found in ("record", "replay-or-live"):
        return _recording(found, rest)
    return _langchain(rest) if found == "langchain" else _openai(rest)


def is_loopback(host: str) -> bool:
    """True for `localhost` and for addresses that cannot leave this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def _recording(kind: Kind, rest: str) -> ModelAddress:
    folder, arrow, behind = rest.partition(ARROW)
    if not folder or not arrow or not behind:
        raise UsageError(
            f"model address {one_line(f'{kind}:{rest}')!r} names no folder and address",
            next_step=f"write '{kind}:FOLDER{ARROW}ADDRESS', in quotes because of the >",
        )
    live = parse_address(behind)
    if live.kind == "none" or live.path is not None:
        raise UsageError(
            f"model address {one_line(f'{kind}:{rest}')!r} records {live.kind!r}, which asks no model",
            next_step="put an openai: or langchain: address behind the arrow",
        )
    return ModelAddress(f"{kind}:{folder}{ARROW}{live.text}", kind, path=Path(folder), live=live)


def _langchain(rest: str) -> ModelAddress:
    provider, colon, behind = rest.partition(":")
    if not colon or not _PROVIDER.match(provider):
        raise UsageError(
            f"model address {one_line('langchain:' + rest)!r} names no provider and model",
            next_step="write langchain:PROVIDER:MODEL, for example langchain:anthropic:claude-sonnet-4-5",
        )
    model, url = _model_and_url(behind, "langchain", default="")
    text = f"langchain:{provider}:{model}" + (f"@{url}" if url else "")
    return ModelAddress(text, "langchain", model=model, base_url=url, provider=provider)


def _openai(rest: str) -> ModelAddress:
    model, url = _model_and_url(rest, "openai", default=OPENAI_URL)
    text = f"openai:{model}" if url == OPENAI_URL else f"openai:{model}@{url}"
    return ModelAddress(text, "openai", model=model, base_url=url)


def _model_and_url(rest: str, kind: str, *, default: str) -> tuple[str, str]:
    """What `MODEL[@BASE_URL]` spells."""
    with_url = _WITH_URL.match(rest)
    if "://" in rest and with_url is None:
        raise UsageError(
            f"model address {one_line(f'{kind}:{rest}')!r} has a URL but no '@' between model and URL",
            next_step=f"write {kind}:MODEL@BASE_URL",
        )
    model = with_url["model"] if with_url else rest
    if with_url is None and re.search(r"@(?:[^@]*[:/]|localhost\Z)", rest):
        # Read as a model name this would send the prompts to the vendor instead of to the server that was meant.
        raise UsageError(
            f"model address {one_line(f'{kind}:{rest}')!r} looks like a server without its scheme",
            next_step="write the base URL with http:// or https://",
        )
    if not _MODEL.match(model):
        raise UsageError(
            f"{one_line(model)!r} in model address {kind}: is not a model name",
            next_step="use the server's own name of the model: letters, digits and . _ : / @ + -",
        )
    return model, _checked_url(with_url["url"]) if with_url else default


def _checked_url(url: str) -> str:
    def refuse(why: str, next_step: str) -> UsageError:
        return UsageError(f"base URL {one_line(url)!r} {why}", next_step=next_step)

    if not url.isascii() or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise refuse("holds characters that a URL cannot hold", "write it in plain ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refuse("cannot be read", "write it as https://HOST/v1") from None
    host = (parts.hostname or "").lower()
    if "@" in parts.netloc:
        raise refuse("holds a user name or password", f"leave it out; the key belongs into {KEY_VARIABLE}")
    if parts.scheme not in {"http", "https"}:
        raise refuse(f"has the scheme {parts.scheme!r}", "use https, or http for a server on this machine")
    if parts.query or parts.fragment:
        raise refuse("has a query or a fragment", "end it with the path, usually /v1")
    if not host:
        raise refuse("names no host", "write it as https://HOST/v1")
    problem = _host_problem(host)
    if problem:
        raise refuse(problem, "name the server that runs the model")
    if parts.scheme == "http" and not is_loopback(host):
        raise refuse("is not encrypted", "use https; plain http is for a server on this machine only")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        netloc = f"{netloc}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def _host_problem(host: str) -> str | None:
    """Why no prompt may go to this host; None where it may."""
    if host.rstrip(".") in _METADATA_HOSTS or host in _METADATA_ADDRESSES:
        return "is a cloud's metadata service"
    address = _ip(host)
    if address is None:
        # 2130706433, 0x7f.1 and 0177.0.0.1 are addresses to some resolvers and names to others.
        if re.fullmatch(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?", host):
            return "has a number for a host that is not an IP address"
        return None if _HOST_NAME.match(host) else "has no legal host name"
    if str(address) in _METADATA_ADDRESSES:
        return "is a cloud's metadata service"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return "is a link-local, multicast or unspecified address"
    return None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

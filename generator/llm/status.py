"""What an HTTP status other than 2xx means for a call: its class, whether to try again, and what a person can do."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from generator.llm.client import Failure

# A server that wants a longer pause than this is not waited for.
MAX_RETRY_AFTER = 120.0
RETRIED_STATUS = frozenset({408, 409, 429})


@dataclass(frozen=True)
class Refused:
    """A status read.

    Attributes:
        what: the sentence, without what the server said.
        message: what the server said, as it came; may hold anything.
        again: another attempt could succeed; `retry_after`: seconds the server wants to rest.
        stops_run, charged: None where the class decides, see `CallFailed`.
    """

    what: str
    message: str
    failure: Failure
    next_step: str
    again: bool = False
    retry_after: float | None = None
    stops_run: bool | None = None
    charged: bool | None = None


def read_status(
    status: int,
    headers: Mapping[str, str],
    text: str,
    *,
    key_variable: str,
    now: datetime,
    downgrade: Callable[[str], str],
) -> Refused:
    """The meaning of an answer with this status, headers and body.

    Args:
        key_variable: where the key came from, for the sentence.
        now: for a `Retry-After` that is a date.
        downgrade: what to change after a 400, out of the server's message.
    """
    code, message = _error_of(text)
    if status == 401:
        step = f"check {key_variable} and that it belongs to this server"
        return Refused("the key was rejected", message, "auth", step)
    if status == 403:
        step = "check that the key may use this model, and your region"
        return Refused("access was denied", message, "auth", step)
    if status == 404:
        step = "check the model name and the base URL (often /v1)"
        return Refused("model or path not found", message, "not_found", step)
    if status == 413 or code == "context_length_exceeded":
        step = "shorten the prompt or use a model with more context"
        return Refused("the prompt is too large", message, "too_large", step)
    if status == 429 and (code == "insufficient_quota" or "insufficient_quota" in text):
        return Refused("the account is out of credit", message, "quota", "add credit, or use another key")
    rest = _retry_after(headers, now)
    again = rest is None or rest <= MAX_RETRY_AFTER
    if status == 429:
        wants = f" (asked to wait {rest:.0f} s)" if rest is not None else ""
        step = "wait and --resume, or lower --concurrency"
        return Refused(f"too many requests{wants}", message, "rate_limited", step, again=again, retry_after=rest)
    if status in RETRIED_STATUS or status >= 500:
        step = "try again later with --resume"
        return Refused(f"HTTP {status}", message, "server", step, again=again, retry_after=rest)
    if 300 <= status < 400:
        step = "give the final base URL; redirects are not followed, they would carry the prompt elsewhere"
        what = f"HTTP {status}, a redirect"
        return Refused(what, message, "protocol", step, stops_run=True, charged=False)
    return Refused(f"HTTP {status}, the request was not taken", message, "bad_request", downgrade(message))


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the server wants to rest: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if seconds >= 0:  # also false for NaN
            return seconds
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _error_of(text: str) -> tuple[str, str]:
    """Code and message of an error body; what is not JSON is its own message."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return "", "" if text.lstrip().startswith("<") else text
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", str(error)
    return str(error.get("code") or ""), str(error.get("message") or error.get("detail") or "")

"""The hardened HTTP client: what a server may do to us, bounded.

A reply larger than a cap is cut off while it arrives, a compressed reply is refused (a small one can unpack to
gigabytes), a redirect is never followed (it would carry the prompt to another host), and nothing of the environment is
read except the proxy that is passed in. The deadline over a whole call is kept by the caller: a server that sends a
byte now and then never runs into a read timeout.
"""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx2

from generator.llm.address import is_loopback

MAX_REPLY_BYTES = 1_000_000
CONNECT_SECONDS = 10.0


class ReplyRefused(httpx2.TransportError):
    """The server's reply was not taken in; `too_large` tells the two reasons apart.

    A transport error to the library, so that every SDK on top of it handles it like one.
    """

    def __init__(self, why: str, *, too_large: bool) -> None:
        super().__init__(why)
        self.too_large = too_large


class HardenedTransport(httpx2.AsyncBaseTransport):
    """Wraps another transport: asks for plain bytes, takes nothing else, and not too many of them."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._inner = inner
        self._max_reply_bytes = max_reply_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response with its body still to come, counted while it is read."""
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        length = response.headers.get("content-length", "")
        too_long = length.isdecimal() and int(length[:19]) > self._max_reply_bytes
        if coding not in {"", "identity"} or too_long:
            await response.aclose()
            if too_long:
                raise _too_large(self._max_reply_bytes)
            raise ReplyRefused("the reply is compressed although plain bytes were asked for", too_large=False)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Counted(response.stream, self._max_reply_bytes)
        return response

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._limit:
                raise _too_large(self._limit)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def open_http(*, read_seconds: float, proxy: str | None = None) -> httpx2.AsyncClient:
    """An HTTP client with all of the above. `proxy` is a URL; certificates are checked as the system says."""
    # trust_env off: no proxy, no netrc password and no certificate file that nobody asked for.
    inner = httpx2.AsyncHTTPTransport(trust_env=False, retries=0, proxy=proxy)
    return httpx2.AsyncClient(
        transport=HardenedTransport(inner),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx2.Timeout(read_seconds, connect=min(CONNECT_SECONDS, read_seconds)),
    )


def proxy_for(base_url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for `base_url`; None for a server on this machine or in NO_PROXY."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    names = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy") and value}
    proxy = names.get(f"{parts.scheme}_proxy") or names.get("all_proxy")
    if proxy is None or is_loopback(host) or _bypasses(host, names.get("no_proxy", "")):
        return None
    return proxy


def _bypasses(host: str, no_proxy: str) -> bool:
    suffixes = [entry.strip().lower().lstrip(".") for entry in no_proxy.split(",") if entry.strip()]
    return any(suffix in {"*", host} or host.endswith(f".{suffix}") for suffix in suffixes)


def _too_large(limit: int) -> ReplyRefused:
    return ReplyRefused(f"the reply is larger than {limit:,} bytes", too_large=True)

"""Budget: a ledger that says no before a call, not after it.

A call reserves the most that it can cost, and settles for what it did cost; spent plus reserved never passes a cap,
however many calls are in flight in one event loop (there is no `await` here, so no call slips between check and entry).

Tokens of a prompt are estimated from its bytes (`BYTES_PER_TOKEN`, shown as "est."), because exact counts need the
vendor's own tokenizer. Where a server counts more than was reserved, the truth is entered and the next call is refused.
An attempt that timed out and was tried again may have been charged by the provider without any trace here.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

from backtesting.errors import BudgetReached, InvalidConfig
from generator.llm.client import Usage
from generator.llm.pricing import Price, cost

BYTES_PER_TOKEN = 3
# What a server adds around each conversation: roles, separators, the schema's own frame.
OVERHEAD_TOKENS = 32


@dataclass(frozen=True)
class Caps:
    """Limits of one run; None is no limit. Negative, zero and NaN are refused with InvalidConfig."""

    max_usd: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (isinstance(value, bool) or not (value > 0 and math.isfinite(value))):
                raise InvalidConfig(
                    f"{item.name} is {value!r}, allowed is a positive number",
                    next_step="correct it, or leave it out for no limit",
                )


@dataclass(frozen=True)
class Spend:
    """What is used up. `usd` is the sum over priced calls; `unpriced_calls` are not in it."""

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    unpriced_calls: int = 0

    def as_dict(self) -> dict[str, float]:
        """For the store; `Spend(**stored)` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Reservation:
    """The most that one call can cost. `usd` is None where the model is unpriced."""

    number: int
    tokens: int
    usd: float | None
    price: Price | None


class Budget:
    """Spent and reserved amounts under caps.

    Args:
        caps: the limits.
        clock: seconds, monotonic; the wall limit counts from here.
        spent: what earlier parts of the same run have used, from the store; resuming is starting with it.
    """

    def __init__(self, caps: Caps, *, clock: Callable[[], float], spent: Spend | None = None) -> None:
        self.caps = caps
        self._clock = clock
        self._began = clock()
        self._spent = spent or Spend()
        self._open: dict[int, Reservation] = {}
        self._next = 0

    @property
    def spent(self) -> Spend:
        """Settled amounts; the seconds run on."""
        return replace(self._spent, seconds=self._spent.seconds + self._clock() - self._began)

    @property
    def reserved_usd(self) -> float:
        """USD held by calls in flight."""
        return math.fsum(item.usd for item in self._open.values() if item.usd is not None)

    @property
    def reserved_tokens(self) -> int:
        """Tokens held by calls in flight."""
        return sum(item.tokens for item in self._open.values())

    def check_enforceable(self, price: Price | None) -> None:
        """Raise InvalidConfig where a cap in USD stands alone before an unpriced model: it could not be kept."""
        if price is None and self.caps.max_usd is not None and self.caps.max_tokens is None:
            raise InvalidConfig(
                "max_usd is set, but the model is unpriced, so the limit cannot be kept",
                next_step="set --max-tokens, or give the price in a price file",
            )

    def reserve(self, prompt_bytes: int, max_output_tokens: int, price: Price | None) -> Reservation | BudgetReached:
        """Hold the most that a call can cost, or the reason why it must not be made.

        The BudgetReached is returned, not raised: the caller first brings the calls in flight home.
        """
        self.check_enforceable(price)
        prompt_tokens = estimated_tokens(prompt_bytes)
        tokens = prompt_tokens + max_output_tokens
        # Before the answer nobody knows what comes from a cache, so all of the prompt is held at the full rate.
        usd = None if price is None else cost(Usage(prompt_tokens, max_output_tokens), price)
        spent = self.spent
        checks = (
            ("max_calls", self.caps.max_calls, spent.calls + len(self._open), 1, "calls"),
            ("max_tokens", self.caps.max_tokens, spent.tokens + self.reserved_tokens, tokens, "tokens (est.)"),
            ("max_usd", self.caps.max_usd, spent.usd + self.reserved_usd, usd or 0.0, "USD"),
        )
        for name, cap, used, wanted, unit in checks:
            if cap is not None and used + wanted > cap:
                return _reached(
                    name, f"{_figure(used)} of {_figure(cap)} {unit} are used or held, a call needs {_figure(wanted)}"
                )
        if self.caps.max_seconds is not None and spent.seconds >= self.caps.max_seconds:
            return _reached("max_seconds", f"{spent.seconds:.0f} of {self.caps.max_seconds:.0f} seconds are over")
        self._next += 1
        self._open[self._next] = Reservation(self._next, tokens, usd, price)
        return self._open[self._next]

    def settle(self, reservation: Reservation, usage: Usage | None) -> float | None:
        """Enter what the call did cost; its USD, None where it is unpriced.

        Without `usage` the whole reservation counts as spent: not knowing is no reason to count nothing.
        """
        held = self._close(reservation)
        tokens = held.tokens if usage is None else usage.total_tokens
        usd = held.usd if usage is None or held.price is None else cost(usage, held.price)
        self._spent = replace(
            self._spent,
            usd=self._spent.usd + (usd or 0.0),
            tokens=self._spent.tokens + tokens,
            calls=self._spent.calls + 1,
            unpriced_calls=self._spent.unpriced_calls + (usd is None),
        )
        return usd

    def settle_free(self, reservation: Reservation) -> None:
        """Enter a call that cost nothing: it counts as a call, and neither tokens nor USD were used."""
        self._close(reservation)
        self._spent = replace(self._spent, calls=self._spent.calls + 1)

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the call was not made, or was refused before any model ran."""
        self._close(reservation)

    def _close(self, reservation: Reservation) -> Reservation:
        held = self._open.pop(reservation.number, None)
        if held is None:
            raise ValueError(f"reservation {reservation.number} is not open: it was settled or released before")
        return held


def estimated_tokens(prompt_bytes: int, *, overhead: int = OVERHEAD_TOKENS) -> int:
    """Tokens of a prompt, estimated; without `overhead` those of a part of it."""
    return math.ceil(prompt_bytes / BYTES_PER_TOKEN) + overhead


def _reached(name: str, why: str) -> BudgetReached:
    return BudgetReached(
        f"the limit {name} is reached: {why}",
        kept="everything done so far is saved",
        next_step="raise the limit and continue with --resume",
    )


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"

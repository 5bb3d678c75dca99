"""When to try again, and after how long: pure decisions, full-jitter backoff, injected clock and sleep.

Backoff: "full jitter" (each wait is drawn evenly from zero to the doubled ceiling), which spreads clients that failed
together. `Retry-After`: RFC 9110 §10.2.3.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from modelops_bundle.errors import BundleError, RateLimited
from modelops_bundle.events import Retrying, Run

Result = TypeVar("Result")
Cause = Literal["answer", "refused", "lookup", "proxy", "stall", "corrupt", "renew", "expired", "lag", "unknown"]
"""Why an attempt failed: a transient answer or broken connection; nobody there; no name service; a proxy that is not there
or cannot connect; silence; wrong bytes; a stale login; a signed address that is good no more; a blob that its registry does
not show although a manifest names it; one it does not know although it was just stored."""


class Transient(Exception):
    """One attempt failed in a way that another may not. Never leaves `net` and `stores`.

    :param error: what to raise when there is no further attempt.
    :param after: seconds the server asked to wait.
    """

    def __init__(self, error: BundleError, *, cause: Cause = "answer", after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.cause = cause
        self.after = after


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient to be. Attempts count the first one; times are seconds.

    Six attempts outlive five bad answers in a row (facts: reliability §3.5) and wait 15 s at most together.
    """

    attempts: int = 6
    refused: int = 3
    lookup: int = 3
    proxy: int = 3
    corrupt: int = 3
    renew: int = 6
    expired: int = 3
    lag: int = 2
    unknown: int = 4
    base: float = 0.5
    ceiling: float = 20.0
    patience: float = 120.0

    def most(self, cause: Cause) -> int:
        """Attempts allowed when they fail for `cause`."""
        if cause in ("answer", "stall"):
            return self.attempts
        limits = {
            "refused": self.refused,
            "lookup": self.lookup,
            "proxy": self.proxy,
            "corrupt": self.corrupt,
            "renew": self.renew,
            "expired": self.expired,
            "lag": self.lag,
            "unknown": self.unknown,
        }
        return min(self.attempts, limits[cause])


def pause(policy: Policy, failed: int, trouble: Transient, draw: Callable[[], float]) -> float | None:
    """Seconds to wait before the next attempt, None for no further attempt.

    :param failed: attempts made so far, all failed.
    :param draw: a number from 0 to 1.
    """
    if failed >= policy.most(trouble.cause):
        return None
    if trouble.cause == "renew":
        return 0.0
    if trouble.after is not None:
        # Spread the clients that were told the same second.
        return None if trouble.after > policy.patience else trouble.after + draw() * policy.base
    ceiling: float = min(policy.ceiling, policy.base * 2.0 ** (failed - 1))
    return draw() * ceiling


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for, None when it says nothing readable.

    :param now: seconds since the epoch.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime  # half of what importing this module would cost

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def pause_asked(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that an answer asks to wait: when a quota is used up (`RateLimit`, draft-ietf-httpapi-ratelimit-headers),
    until there is a new one, which counts from whole seconds; else what `Retry-After` says. None when it says nothing.

    :param headers: names in lower case. :param now: seconds since the epoch.
    """
    quota = re.search(r";\s*r\s*=\s*0\b[^,]*;\s*t\s*=\s*([0-9]{1,9})", headers.get("ratelimit", ""))
    if quota is not None:
        return float(quota[1]) + 1.0
    return retry_after(headers.get("retry-after"), now)


class Retrier:
    """Runs actions until they succeed, fail for good, or patience ends.

    :param sleep: waits some seconds; the default ends early, raising, when the run is cancelled.
    :param draw: a number from 0 to 1.
    """

    def __init__(
        self,
        run: Run,
        policy: Policy,
        sleep: Callable[[float], None] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._run = run
        self._policy = policy
        self._sleep = sleep or interruptible_sleep(run)
        self._draw = draw

    def call(self, key: str, action: Callable[[], Result]) -> Result:
        """Do `action`, again after `Transient`.

        :param key: names the item in `Retrying` events.
        :raises BundleError: what `action` raises, or the error of the last `Transient`.
        """
        failed = 0
        while True:
            try:
                return action()
            except Transient as trouble:
                failed += 1
                self.wait(key, failed, trouble)

    def wait(self, key: str, failed: int, trouble: Transient) -> None:
        """Wait for the next attempt.

        :raises BundleError: there is none.
        """
        seconds = pause(self._policy, failed, trouble, self._draw)
        if seconds is None:
            raise _final(trouble, self._policy) from trouble.__cause__
        self._run.emit(Retrying(key, failed, seconds, trouble.error.message))
        self._sleep(seconds)


def _final(trouble: Transient, policy: Policy) -> BundleError:
    if trouble.after is None or trouble.after <= policy.patience:
        return trouble.error
    return RateLimited(
        f"{trouble.error.message}; the server asks to wait {trouble.after:.0f} s",
        hint="run the same command again later: what is done stays done",
        **{**trouble.error.facts, "retry_after": trouble.after},
    )


def interruptible_sleep(run: Run) -> Callable[[float], None]:
    """A sleep that ends at once, raising `Interrupted` or `Terminated`, when `run` is cancelled."""

    def sleep(seconds: float) -> None:
        run.cancelled.wait(seconds)
        run.check()

    return sleep

"""A bounded pool: as many items at a time as `Limits.jobs` says, the first failure stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from modelops_bundle.events import Run

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
WINDOW = 2
"""Items handed out per worker: enough to keep all busy, not a queue of everything."""


def each(items: Iterable[Item], work: Callable[[Item], None], run: Run) -> None:
    """Do `work` for every item; returns when all are done.

    :raises BundleError: the first failure. Items under way are stopped for it at their next chunk; all have ended.
    """
    source = iter(items)
    jobs = max(1, run.limits.jobs)
    if jobs == 1:
        for item in source:
            run.check()
            work(item)
        return
    first = list(islice(source, jobs * WINDOW))
    if not first:
        return
    # Slow to import, often for nothing.
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait  # noqa: PLC0415

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        pending: set[Future[None]] = {pool.submit(work, item) for item in first}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                run.check()
                pending |= {pool.submit(work, item) for item in islice(source, len(done))}
        except BaseException:
            # What they raise when they stop is nobody's news: the failure that stopped them is.
            run.halt()
            pool.shutdown(wait=True, cancel_futures=True)
            run.resume()
            raise

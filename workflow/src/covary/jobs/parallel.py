"""Apply a function to many items in worker processes, in order, with a progress bar."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import TypeVar

from covary.jobs.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, description: str
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of `items`.

    With more than one worker the function and the items are pickled and run in freshly started processes.
    An exception in a worker is raised here, and what has not started is dropped. Few results wait in memory,
    however many items there are.
    """
    with progress(len(items), 0, description) as bar:
        if workers == 1:
            for item in items:
                yield function(item)
                bar.update()
            return
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            chunk = max(1, min(64, len(items) // (4 * workers)))
            for results in _in_order(pool, function, items, chunk, 4 * workers):
                for result in results:
                    yield result
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(
    pool: Executor, function: Callable[[Item], Result], items: Sequence[Item], chunk: int, pending: int
) -> Iterator[list[Result]]:
    """The results of one chunk of items after another, of which at most `pending` are computed ahead."""
    waiting: deque[Future[list[Result]]] = deque()
    for first in range(0, len(items), chunk):
        if len(waiting) == pending:
            yield waiting.popleft().result()
        waiting.append(pool.submit(_apply, function, items[first : first + chunk]))
    while waiting:
        yield waiting.popleft().result()


def _apply(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]

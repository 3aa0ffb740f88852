"""Shares numbered pieces of work among threads, so that the outcome doesn't depend on how many there are."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from threading import Thread

from minisqx.machine.threads import threads

_number = itemgetter(0)  # of a failure


def share(work: Callable[[int], None], numbers: Sequence[int], own: Sequence[int] = ()) -> None:
    """Calls work(number) for each of `numbers`, on as many threads as are set; those in `own` only on the calling thread.

    Both are in ascending order, and each thread takes the next number when it is free. After a failure no later number is
    begun, but every earlier one is done; the failure with the lowest number is raised, so it doesn't depend on the threads.
    Where the system has no more threads to give, those that there are do the work.
    """
    failures: list[tuple[int, BaseException]] = []
    waiting = iter(numbers)

    def work_on(numbers: Iterable[int]) -> None:
        for number in numbers:
            if failures and number > min(failures, key=_number)[0]:
                return
            try:
                work(number)
            except Exception as error:  # it would end this thread only, and leave work undone
                failures.append((number, error))
            except BaseException as error:  # the user stops the program: nothing else is begun
                failures.append((-1, error))

    helpers: list[Thread] = []
    for _ in range(min(threads() - 1, len(numbers) - (not own))):
        helper = Thread(target=work_on, args=(waiting,))
        try:
            helper.start()
        except (RuntimeError, MemoryError):
            break
        helpers.append(helper)
    work_on(own)
    work_on(waiting)
    for helper in helpers:
        helper.join()
    if failures:
        raise min(failures, key=_number)[1]

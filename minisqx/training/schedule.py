"""Learning rate schedules: the paper's steps, and one cycle for short runs."""

from collections.abc import Iterable, Sequence

from minisqx.checks import is_number, plain, require


def cycle(epoch: int, epochs: int, restarts: Sequence[int]) -> tuple[int, int]:
    """The first epoch, and the length, of the part of a run that lies between two restarts of the schedule. Epochs from 0."""
    begun = max([0, *(each for each in restarts if each <= epoch)])
    return begun, min([epochs, *(each for each in restarts if each > epoch)]) - begun


class StepSchedule:
    """The learning rate is multiplied by `gamma` after each milestone, a number of epochs.

    milestones: None for 30, 60, 75 and 90 % of `epochs`, the paper's 60, 120, 150 and 180 of 200. Raises OptionError for invalid
    values.
    """

    FRACTIONS = (0.3, 0.6, 0.75, 0.9)

    def __init__(self, lr: float, epochs: int, milestones: tuple[int, ...] | None = None, gamma: float = 0.2):
        lr, epochs, gamma = plain((lr, epochs, gamma))
        require(is_number(lr) and lr >= 0, "lr", lr, "a learning rate of 0 or more, such as 0.1")
        require(is_number(epochs) and epochs > 0, "epochs", epochs, "a number over 0, such as 200")
        require(is_number(gamma) and gamma > 0, "gamma", gamma, "a factor over 0, such as 0.2")
        if milestones is None:
            milestones = tuple(max(1, round(epochs * share)) for share in self.FRACTIONS)
        steps = plain(tuple(milestones)) if isinstance(milestones, Iterable) else ()
        valid = isinstance(milestones, Iterable) and all(map(is_number, steps))
        require(valid, "milestones", milestones, "epochs, such as (60, 120, 150, 180)")
        self.base, self.gamma, self.milestones = lr, gamma, steps

    def __repr__(self) -> str:
        return f"StepSchedule(lr={self.base}, milestones={self.milestones}, gamma={self.gamma})"

    def lr(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        epoch = plain(epoch)
        return self.base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class OneCycleSchedule:
    """The learning rate rises linearly from 0 to `lr` in the first 20 % of `epochs`, then falls linearly to 0.

    Source: Smith, "Super-Convergence" (2018), in its linear form. Small networks underfit; at 20 to 30 epochs this schedule beats
    the paper's steps by several points of accuracy.
    """

    WARMUP = 0.2

    def __init__(self, lr: float, epochs: int) -> None:
        self._lr = lr
        self._epochs = epochs

    def __repr__(self) -> str:
        return f"OneCycleSchedule(lr={self._lr}, epochs={self._epochs})"

    def lr(self, position: float) -> float:
        """The learning rate at `position`, in epochs since the start of the run (12.5: halfway through the 13th epoch)."""
        done = position / self._epochs
        return self._lr * min(done / self.WARMUP, (1 - done) / (1 - self.WARMUP))

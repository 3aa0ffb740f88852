"""What a finished training run leaves behind: `TrainingResult`."""

import base64
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minisqx.inference.model import Model


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A finished run.

    folder: the run folder. history: the rows of history.csv, a dictionary each. best_epoch: the epoch of best.h5, from 1.
    """

    folder: Path
    history: list[dict]
    best_epoch: int

    @cached_property
    def model(self) -> "Model":
        """The model in best.h5. Raises CheckpointError if the file was removed since."""
        from minisqx.inference.model import load

        return load(self.folder / "best.h5")

    @property
    def report(self) -> Path:
        """The page of the run, report.html."""
        return self.folder / "report.html"

    @property
    def outcome(self) -> str:
        """The accuracies on the test images, in one line."""
        last, best = self.history[-1], self.history[self.best_epoch - 1]
        line = f"test accuracy {100 * last['test_accuracy']:.2f} % after the last epoch (last.h5)"
        if best["validation_accuracy"] is not None:
            accuracy = f"{100 * best['test_accuracy']:.2f} % after epoch {best['epoch']}"
            line += f", {accuracy}, the best on the validation images (best.h5)"
        return line

    def __repr__(self) -> str:
        return f"TrainingResult({len(self.history)} epochs, {self.outcome}, in {str(self.folder)!r})"

    def _repr_html_(self) -> str:
        from minisqx import html

        parts = [html.heading(f"{len(self.history)} epochs in {str(self.folder)!r}", self.outcome)]
        try:
            from minisqx.training.curves import draw_curves

            picture = base64.b64encode(draw_curves(self.history, self.folder.name)).decode()
            parts.append(f'<img style="max-width:100%" alt="curves" src="data:image/png;base64,{picture}">')
        except ImportError:
            names = [name for name in self.history[-1] if name.endswith(("_loss", "_accuracy"))]
            parts.append(html.table((name.replace("_", " "), str(self.history[-1][name])) for name in names))
        return "".join([*parts, html.heading("", f"report: {self.report}; weights: {self.folder / 'best.h5'}")])

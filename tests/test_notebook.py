"""A training in a real Jupyter kernel: a picture that grows while it runs, and objects that show themselves."""

import pytest

pytest.importorskip("nbclient", reason="there is no nbclient: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="there is no ipykernel: pip install nbclient ipykernel")

import nbclient
import nbformat.v4 as notebook

from minisqx.training.progress import Terminal
from tests.training_runs import SMALL, write_data

# Each epoch is drawn, and each batch shown, however little time it takes.
IMPATIENT = "from minisqx.training import notebook; notebook.BAR_SECONDS = 0; notebook.PICTURE_SHARE = 1e9"
NO_REPORTS = "from minisqx.training import trainer; trainer.Reporter.update = lambda *given: None"  # as in conftest.py
INTERRUPT = "import _thread; stop = lambda row: _thread.interrupt_main()"


class Watched(nbclient.NotebookClient):
    """Keeps every message that the kernel sends while a cell runs."""

    def __init__(self, cells: list[str], folder):
        made = notebook.new_notebook(cells=[notebook.new_code_cell(cell) for cell in cells])
        super().__init__(made, timeout=120, resources={"metadata": {"path": str(folder)}})
        self.messages: list[tuple[int, dict]] = []

    def process_message(self, msg, cell, cell_index):
        self.messages.append((cell_index, msg))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    data = str(write_data(folder / "colours.h5"))
    cells = [
        f"import minisqx\n{IMPATIENT}\n{NO_REPORTS}",
        f"run = minisqx.train(**{SMALL}, data={data!r}, out='runs/one')",
        "run",
        "run.model",
        "run.model.network",
        f"{INTERRUPT}\ntry: minisqx.train(**{SMALL}, data={data!r}, out='runs/two', callbacks=[stop])\n"
        "except KeyboardInterrupt: print('INTERRUPTED')",
        "len(minisqx.train(resume='runs/two').history)",
    ]
    client = Watched(cells, folder)
    client.execute()
    return client


def shown(client, cell: int, kind: str, mime: str) -> list[str]:
    contents = [message["content"] for at, message in client.messages if at == cell and message["msg_type"] == kind]
    return [content["data"][mime] for content in contents if mime in content.get("data", {})]


def test_one_picture_is_redrawn_after_each_epoch_while_the_cell_runs(watched):
    assert len(shown(watched, 1, "display_data", "image/png")) == 1
    pictures = shown(watched, 1, "update_display_data", "image/png")
    assert len(pictures) == 2 and len(set(pictures)) == 2
    kept = [output for output in watched.nb.cells[1].outputs if "image/png" in output.get("data", {})]
    assert len(kept) == 1 and kept[0]["data"]["image/png"] == pictures[-1]


def test_the_bar_moves_with_each_batch_and_lines_of_epochs_are_not_printed(watched):
    bars = [text for text in shown(watched, 1, "update_display_data", "text/html") if "<progress" in text]
    assert len(bars) >= 12 and 'max="53"' in bars[0] and "accuracy" in bars[0]
    printed = "".join(output["text"] for output in watched.nb.cells[1].outputs if output["output_type"] == "stream")
    assert "network: " in printed and "test accuracy" in printed and "epoch 2/3" not in printed
    assert any("epoch 3/3" in output["data"]["text/html"] for output in watched.nb.cells[1].outputs if "data" in output)


def test_a_run_a_model_and_a_network_are_shown_as_html(watched):
    for cell, words in ((2, "report.html"), (3, "red, green, blue"), (4, "<svg")):
        (output,) = watched.nb.cells[cell].outputs
        assert words in output["data"]["text/html"]


def test_an_interrupt_saves_the_run_and_the_next_cell_resumes_it(watched):
    assert "INTERRUPTED" in "".join(output.get("text", "") for output in watched.nb.cells[5].outputs)
    assert watched.nb.cells[6].outputs[-1]["data"]["text/plain"] == "3"


def test_outside_a_notebook_a_run_is_shown_in_the_terminal():
    from minisqx.training.notebook import Notebook, screen

    assert isinstance(screen(), Terminal) and not isinstance(screen(), Notebook)

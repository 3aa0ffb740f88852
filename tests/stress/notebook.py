"""A real Jupyter kernel: stop is pressed twice while it trains; it must survive with all its variables.

python -m tests.stress.notebook (needs ipykernel)
"""

import argparse
import queue
import sys
import tempfile
import time

SECONDS = 300
TRAIN = """
from minisqx.training import TrainingOptions, train
train(TrainingOptions(data="shapes", width=0.125, epochs=1000, threads=1, out={out!r}))
"""


class Notebook:
    """A kernel, and the output of its last cell."""

    def __init__(self, client) -> None:
        self.client, self.text, self.error = client, "", ""

    def run(self, code: str, until: str | None = None) -> None:
        """Runs a cell to its end, or until it has printed `until`."""
        self.text, self.error = "", ""
        self.client.execute(code)
        self.wait(until)

    def wait(self, until: str | None = None) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self.client.is_alive():
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                self.text += content["text"]
            elif message["msg_type"] == "error":
                self.error = content["ename"]
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return
            if until is not None and until in self.text:
                return
        raise SystemExit(f"the kernel has died or timed out: {self.text!r}")


def stopped(presses: int, pause: float) -> bool:
    """Whether the kernel keeps its variables and trains again after `presses` interrupts."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    notebook = Notebook(client)
    try:
        with tempfile.TemporaryDirectory() as folder:
            notebook.run("mine = 42")
            notebook.run(TRAIN.format(out=f"{folder}/one"), until="epoch 1/")
            for _ in range(presses):
                manager.interrupt_kernel()
                time.sleep(pause)
            notebook.wait()
            ended_by = notebook.error
            notebook.run("print(mine)")
            known = notebook.text.strip() == "42" and manager.is_alive()
            notebook.run(TRAIN.format(out=f"{folder}/two").replace("1000", "1"))
            again = "test accuracy" in notebook.text
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(
        f"stop pressed {presses} times, {pause} s apart: {ended_by}, variables known: {known}, trains again: {again}", flush=True
    )
    return ended_by == "KeyboardInterrupt" and known and again


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    return 0 if all([stopped(1, 0.0), stopped(2, 0.001), stopped(2, 0.05), stopped(5, 0.02)]) else 1


if __name__ == "__main__":
    sys.exit(main())

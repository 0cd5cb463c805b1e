"""A notebook run without a kernel's process: papermill's engine for the process that it is called in.

A kernel of its own takes 5 s of CPU to start and to import what each notebook needs. Here processes that have imported
it run one notebook after another (:mod:`carseq.report.notebooks`), each in a new shell: it has nothing of another's.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pandas as pd
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import print_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from carseq.figures.chart import without_checks

#: Name under which papermill knows the engine.
ENGINE = "carseq-in-process"

#: Most columns of a table that pandas shows in a notebook; without a kernel it thinks of a terminal, which has fewer.
_COLUMNS = 20


class _Stream:
    """What a cell prints: joined to one output as long as nothing else is shown in between."""

    def __init__(self, outputs: list[NotebookNode], name: str) -> None:
        self._outputs, self._name = outputs, name

    def write(self, text: str) -> int:
        last = self._outputs[-1] if self._outputs else None
        if text and last is not None and last.get("name") == self._name:
            last["text"] += text
        elif text:
            self._outputs.append(new_output("stream", name=self._name, text=text))
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is written at once."""

    def isatty(self) -> bool:
        return False


class _Publisher(DisplayPublisher):
    """Keeps what ``display`` shows."""

    outputs: list[NotebookNode]

    def publish(self, data: Any, metadata: Any = None, source: Any = None, **_: Any) -> None:
        self.outputs.append(new_output("display_data", data=data, metadata=metadata or {}))


class _Hook(DisplayHook):
    """Keeps the value of a cell's last line."""

    outputs: list[NotebookNode]

    def write_output_prompt(self) -> None:
        """Do nothing: a notebook numbers its outputs itself."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.outputs.append(
            new_output(
                "execute_result",
                data=format_dict,
                metadata=md_dict or {},
                execution_count=self.prompt_count,
            )
        )

    def finish_displayhook(self) -> None:
        """Do nothing: no line is left open."""


class _Shell(InteractiveShell):
    """IPython as a kernel has it, its outputs kept as a notebook's."""

    display_pub_class = _Publisher
    displayhook_class = _Hook

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.outputs: list[NotebookNode] = []

    def init_history(self) -> None:
        self.config.HistoryManager.enabled = False
        super().init_history()

    def init_display_formatter(self) -> None:
        super().init_display_formatter()
        # All representations, as a page shows them; a terminal's shell takes only text.
        formatter = self.display_formatter
        assert formatter is not None
        formatter.active_types = list(formatter.format_types)

    def enable_gui(self, gui: Any = None) -> None:
        """Do nothing: there is no window; ``%matplotlib inline`` asks for none."""

    def enable_matplotlib(self, gui: Any = None) -> tuple[Any, Any]:
        """Do as ``%matplotlib`` asks, which says anew how figures are shown."""
        enabled: tuple[Any, Any] = super().enable_matplotlib(gui)
        self.show_figures()
        return enabled

    def show_figures(self) -> None:
        """Show figures as PNG."""
        formatter = self.display_formatter
        assert formatter is not None
        formatter.formatters["image/png"].for_type(Figure, _png)

    def _showtraceback(self, etype: type[BaseException], evalue: Any, stb: list[str]) -> None:
        self.outputs.append(
            new_output("error", ename=etype.__name__, evalue=str(evalue), traceback=list(stb))
        )

    @contextmanager
    def kept(self) -> Iterator[list[NotebookNode]]:
        """Give the list that a cell's outputs go to."""
        outputs: list[NotebookNode] = []
        assert isinstance(self.display_pub, _Publisher)
        assert isinstance(self.displayhook, _Hook)
        self.outputs = self.display_pub.outputs = self.displayhook.outputs = outputs
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(outputs, "stdout"), _Stream(outputs, "stderr")
        try:
            yield outputs
        finally:
            sys.stdout, sys.stderr = before


def _png(figure: Figure) -> str:
    """Return a figure as PNG: carseq's own has its layout, for which a kernel would draw it twice more."""
    if figure.canvas.manager is not None:
        # One of pyplot's.
        return str(print_figure(figure, base64=True))
    file = BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return b64encode(file.getvalue()).decode()


class InProcess(Engine):
    """Papermill's engine: the cells run one after the other in this process, to the first that fails."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **_: Any
    ) -> None:
        """Run the cells; the manager's notebook holds their outputs."""
        # `display` shows by the one shell there is.
        shell = _Shell.instance()
        shell.show_figures()
        try:
            with pd.option_context("display.max_columns", _COLUMNS), without_checks():
                for cell in nb_man.nb.cells:
                    if cell.cell_type != "code":
                        continue
                    with shell.kept() as outputs:
                        result = shell.run_cell(cell.source, store_history=True)
                    cell.outputs = outputs
                    cell.execution_count = result.execution_count
                    if not result.success:
                        cell.metadata.papermill["exception"] = True
                        return
        finally:
            _Shell.clear_instance()
        # As a kernel would tell them.
        nb_man.nb.metadata["language_info"] = {
            "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
            "version": ".".join(map(str, sys.version_info[:3])),
        }


papermill_engines.register(ENGINE, InProcess)

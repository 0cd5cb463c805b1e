"""carseq's command line: thin over the rooms' functions."""

from __future__ import annotations

import atexit
import codecs
import gc
import locale
import os
import sys
from typing import Annotated

import typer

from carseq import __version__
from carseq.cli import rooms, study
from carseq.cli.construct import construct
from carseq.cli.run import PASSED_ON, demo, doctor, run
from carseq.cli.share import share
from carseq.errors import CarseqError
from carseq.log import to_console

__all__ = ["app", "main"]

app = typer.Typer(
    name="carseq",
    help="Are there CAR T cells in this urine, which cells are they, and how sure are we?\n\n"
    "`carseq demo` shows it at work. For your own study: `carseq init`, then `carseq run study/config.yaml --cores 8`. "
    "`carseq doctor` says what this machine lacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"carseq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    to_console()
    try:
        os.getcwd()
    except OSError:
        raise CarseqError(
            "the folder that this shell is in is not there any more",
            "it was removed or moved, perhaps made anew under the same name",
            'go to a folder that is there (`cd "$PWD"` to the one of that name), then try again',
        ) from None


app.command()(study.init)
app.command()(study.check)
app.command(context_settings=PASSED_ON)(run)
app.command(context_settings=PASSED_ON)(demo)
app.command()(doctor)
app.add_typer(construct)
app.command()(rooms.quicklook)
app.command()(rooms.annotate)
app.command()(rooms.molecules)
app.command()(rooms.call)
app.command()(rooms.localize)
app.command()(study.report)
app.command()(study.verdict)
app.command()(share)
app.command()(study.explain)
app.command()(study.simulate)


def _in_utf8() -> None:
    """Begin again in UTF-8 where the locale has other letters (ISO-8859-1), in which files would be read and written.

    The run's jobs, which are processes of their own, are told so by the environment.
    """
    own = codecs.lookup(locale.getpreferredencoding(False)).name
    if own != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def main() -> None:
    """Run the command line; expected errors are printed without a traceback."""
    _in_utf8()
    # The search for unused objects at the end of Python takes 0.4 s after large imports.
    atexit.register(gc.freeze)
    try:
        # Without standalone mode, typer returns the code of an Exit instead of exiting with it.
        code = app(standalone_mode=False)
    except CarseqError as error:
        print(f"carseq: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        # Typer's own usage errors know how to show themselves.
        show = getattr(error, "show", None)
        if show is None:
            from carseq.io.failures import machine_failure

            if (told := machine_failure(error)) is None:
                raise
            print(f"carseq: {told}", file=sys.stderr, flush=True)
            if "h5py" in sys.modules:
                # HDF5 would try to write what is left, and crash, when Python ends.
                os._exit(1)
            sys.exit(1)
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)

"""Commands that run the workflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carseq.cli.options import out, print_found
from carseq.errors import CarseqError

#: Options that carseq does not know are Snakemake's.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Configuration of the study, config.yaml.")],
    cores: Annotated[
        str | None,
        typer.Option(
            "--cores",
            "-c",
            help="Cores to use at a time, or `all`; default: all of this machine, and one job more.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Submit the jobs to a cluster: slurm, lsf, sge, htcondor, pbs; or the folder of your own profile.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say which jobs would run.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            "-d",
            help="Where relative results go; default: the folder of the configuration.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Check the inputs first, as `carseq check` does, in a minute or so.",
        ),
    ] = True,
) -> None:
    """Run a study to its verdict, from any folder.

    It checks everything, runs the jobs with a line for each finished one, and
    prints the verdict and the path of the report. To continue a run that
    failed, was stopped (Ctrl-C) or was killed, give the same command; finished
    jobs are not repeated.

    Any option of Snakemake may follow, such as --until align, --keep-going,
    --set-resources align:mem_mb=60000, --forcerun calling, --unlock.

    Examples: carseq run study/config.yaml --cores 16;
    carseq run study/config.yaml --profile slurm;
    carseq run study/config.yaml -n

    Exit code: 0 done, 1 a fault or a failed job, 2 a wrong option,
    130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    from carseq.run import Options

    options = Options(cores, profile, dry_run, directory, list(context.args))
    raise typer.Exit(_run(config, options, check=check))


def _run(config: Path, options: object, *, check: bool) -> int:
    """Check and run a study, print its verdicts, and return the exit code."""
    from carseq.cli.study import verdict
    from carseq.run import Options, executor_of, prepare, run_study
    from carseq.schema.results import FILES
    from carseq.study.config import read_config

    assert isinstance(options, Options)
    if (config / "config.yaml").is_file():
        raise CarseqError(
            f"{config} is a folder", "", f"give the configuration in it: {config / 'config.yaml'}"
        )
    if str(config).startswith("-") or not config.is_file():
        raise CarseqError(
            f"there is no configuration {config}",
            "the path of the configuration comes first, then Snakemake's options",
            "carseq run study/config.yaml --cores 8; `carseq init` writes one to start from",
        )
    told = Console(stderr=True)
    remote = executor_of(options)
    prepare(config, options, remote=remote)
    if check and not _checked(config, options, told, remote=remote):
        return 1
    code = run_study(config, options, told)
    given = read_config(config)[0]
    if code or not options.ends_in_verdict or given is None:
        return code
    results = (options.directory or config.parent) / given.results
    if FILES["detection"].under(results).exists():
        verdict(results)
    return 0


def _checked(config: Path, options: object, told: Console, *, remote: str = "") -> bool:
    """Check a study; print faults and notes, and return whether it may run."""
    from carseq.run import Options
    from carseq.start.check import check_study

    assert isinstance(options, Options)
    conda = options.value("--software-deployment-method") or options.value("--sdm")
    of_conda = conda == "conda" or options.given("--use-conda")
    checks = 0

    def found_here() -> Iterator[tuple[str, object]]:
        nonlocal checks
        for what, result in check_study(config):
            checks += 1
            # What the nodes of a cluster have is not known here.
            elsewhere = what == "memory" and remote
            if not elsewhere and not (
                what == "STAR" and of_conda and isinstance(result, CarseqError)
            ):
                yield what, result

    faults = print_found(found_here(), told, well=False)
    if faults:
        told.print(f"{faults} fault{'s' if faults > 1 else ''}: nothing was run")
        return False
    told.print(f"[green]✓[/] {checks} checks: all well", highlight=False)
    return True


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder for the demo's study.")] = Path("demo"),
    cores: Annotated[
        str | None,
        typer.Option(
            "--cores", "-c", help="Cores to use; default: all of this machine.", show_default=False
        ),
    ] = None,
) -> None:
    """Simulate a urine study with CAR T cells and run it to its verdict.

    It shows carseq at work without data of yours: three samples of one
    patient, before and after the infusion, with known truth. To continue an
    interrupted demo, give the same command; a finished demo only prints its
    verdict.
    """
    from carseq.reference.star import star_version
    from carseq.run import Options, demo_needs, prepare_demo

    if folder.name.startswith("-"):
        raise CarseqError(
            f"{folder} is no folder for the demo",
            "the folder comes first, then Snakemake's options",
            f"carseq demo demo {folder}",
        )
    told = Console(stderr=True)
    try:
        star_version()
    except CarseqError as error:
        raise CarseqError(error.message, error.cause, "carseq doctor --install-star") from None
    told.print(
        f"the demo: {demo_needs()}, in {folder}", markup=False, highlight=False, soft_wrap=True
    )
    config, there = prepare_demo(folder)
    told.print("the study is there" if there else "simulated", highlight=False)
    options = Options(cores, words=list(context.args))
    raise typer.Exit(_run(config, options, check=False))


def doctor(
    folder: Annotated[
        Path, typer.Argument(help="Where results are to go; its disk is checked.")
    ] = Path(),
    star: Annotated[
        bool,
        typer.Option(
            "--install-star",
            help="Install STAR if it is missing: by conda, mamba or micromamba, else as Debian's package.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Install STAR (or kallisto, with --install-kallisto) although there is one.",
        ),
    ] = False,
    kallisto: Annotated[
        bool,
        typer.Option(
            "--install-kallisto",
            help="Install kallisto and bustools if they are missing, for `solo.aligner: kallisto`.",
        ),
    ] = False,
) -> None:
    """Say what this machine lacks for a run, and how to get it.

    It looks at Python and packages, STAR and kallisto with their versions, memory, cores,
    disk, and the clusters to which jobs can be submitted from here. `carseq check`
    says what memory and disk your study needs.

    Exit code: 0 nothing is missing, 1 something is.
    """
    from carseq.run.doctor import examine, install_kallisto, install_star

    if star or (force and not kallisto):
        install_star(force=force)
    if kallisto:
        install_kallisto(force=force and not star)
    missing = print_found(examine(folder))
    if missing:
        out.print(f"{missing} thing{'s' if missing > 1 else ''} missing")
        raise typer.Exit(1)
    out.print("nothing is missing; carseq demo shows it at work, carseq init begins your study")

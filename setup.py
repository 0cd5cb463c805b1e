"""Puts the workflow into the wheel.

Everything else about the package is declared in pyproject.toml. The workflow's files lie at the top of the checkout,
where Snakemake, its catalog and ``module`` statements look for them; a wheel holds packages only. So they are copied
into ``carseq/bundle/`` when a wheel is built, with their layout, since they name each other by relative paths.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: What a run reads, below the checkout; `carseq.run.files` finds it in either place.
BUNDLE = (
    "Snakefile",
    "workflow/Snakefile",
    "workflow/**/*.smk",
    "workflow/**/*.py",
    "workflow/**/*.rst",
    "profiles/**/*",
    "config/**/*",
    "envs/tools.yaml",
    "envs/carseq.yaml",
    "envs/install-kallisto.sh",
    "envs/install-star.sh",
)


class WithWorkflow(build_py):
    """Copies the workflow beside the modules; an editable install reads it where it lies."""

    def _bundled(self) -> list[tuple[str, str]]:
        if self.editable_mode:
            return []
        target = Path(self.build_lib, "carseq", "bundle")
        files = sorted({path for pattern in BUNDLE for path in Path().glob(pattern)})
        return [
            (str(path), str(target / path))
            for path in files
            if path.is_file() and "__pycache__" not in path.parts
        ]

    def run(self) -> None:
        super().run()
        for source, target in self._bundled():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(to for _, to in self._bundled())]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **{to: source for source, to in self._bundled()}}


setup(cmdclass={"build_py": WithWorkflow})

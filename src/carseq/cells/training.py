"""What every training of a neural network shares: quiet libraries, threads, epochs."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from unittest import mock

import numpy as np

from carseq.log import get_logger

log = get_logger("cells.training")
T = TypeVar("T")

#: Options of every training: no bar, no files.
QUIET = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}


def on_gpu_or_cpu(learn: Callable[[str], T]) -> T:
    """Learn on a GPU where torch finds one, and on the CPU where that fails, as for want of the GPU's memory.

    Parameters
    ----------
    learn
        Given Lightning's `accelerator`, `auto` or `cpu`; it begins anew at each call.

    Raises
    ------
    RuntimeError
        If learning fails without a GPU.
    """
    import torch

    try:
        return learn("auto")
    except RuntimeError as error:
        if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            raise
        said = " ".join(str(error).split())[:200] or type(error).__name__
        log.warning("learning failed on the GPU (%s); it begins anew on the CPU", said)
    return learn("cpu")


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def import_scvi() -> Any:
    """Import scvi-tools, which takes seconds, without the warnings of what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi
    return scvi


@contextlib.contextmanager
def quiet_training(threads: int) -> Iterator[None]:
    """Train on so many CPU threads (a GPU is used where there is one), without the libraries' chatter."""
    with (
        warnings.catch_warnings(),
        _torch_threads(threads),
        _quiet_lightning(),
        _likelihood_of_few_counts(),
        _cells_let_go(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _cells_let_go() -> Iterator[None]:
    """Have scvi let go of the cells of models made meanwhile, which it holds until the process ends."""
    scvi = import_scvi()
    with contextlib.ExitStack() as stack:
        for kind in (scvi.model.SCVI, scvi.external.SOLO):
            for held in (kind._setup_adata_manager_store, kind._per_instance_manager_store):
                stack.enter_context(mock.patch.dict(held))
        yield


def log_negative_binomial(x: Any, mu: Any, theta: Any, eps: float = 1e-8, **_: Any) -> Any:
    """Return the log likelihood of counts, as scvi's ``log_nb_positive``, by gamma functions of counts above 0 alone.

    At 0 the three gamma functions cancel each other; most counts are 0, and the functions took more than half of the
    likelihood's time.

    Parameters
    ----------
    x, mu
        Counts and means (torch tensors), cells × genes.
    theta
        Inverse dispersion, (genes,) or cells × genes.
    eps
        Added where a logarithm is taken.
    """
    import torch

    if theta.ndim == 1:
        theta = theta[None]
    elif theta.ndim == 2 and theta.shape[0] > 1 and theta.stride(0) == 0:
        # One row, shown for all cells.
        theta = theta[:1]
    both = torch.log(theta + mu + eps)
    result = theta * (torch.log(theta + eps) - both) + x * (torch.log(mu + eps) - both)
    at = torch.nonzero(x.reshape(-1)).squeeze(1)
    count = x.reshape(-1)[at]
    # Of one row the gamma function of each gene is taken once.
    of_gene = at % x.shape[1] if theta.shape[0] == 1 else at
    own, alone = (values.reshape(-1)[of_gene] for values in (theta, torch.lgamma(theta)))
    gammas = torch.lgamma(count + own) - alone - torch.lgamma(count + 1)
    return result.reshape(-1).index_add(0, at, gammas).reshape(x.shape)


@contextlib.contextmanager
def _likelihood_of_few_counts() -> Iterator[None]:
    """Have scvi take the likelihood from :func:`log_negative_binomial`."""
    from scvi.distributions import _negative_binomial

    with mock.patch.object(_negative_binomial, "log_nb_positive", log_negative_binomial):
        yield


def silent_plan() -> Any:
    """Return scvi's training plan without the figures of single steps, which nobody reads and which cost a tenth."""
    from scvi.train import TrainingPlan

    class Silent(TrainingPlan):
        def compute_and_log_metrics(self, loss_output: Any, metrics: Any, mode: str) -> None:
            if mode != "train":
                super().compute_and_log_metrics(loss_output, metrics, mode)

        def log(self, name: str, *values: Any, **options: Any) -> None:
            if name not in ("train_loss", "kl_weight"):
                super().log(name, *values, **options)

    return Silent


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what lightning and scvi say about seeds, devices and stopping."""
    names = [n for n in logging.root.manager.loggerDict if n.startswith(("lightning", "scvi"))]
    chatter = [logging.getLogger(n) for n in {*names, "lightning.pytorch", "lightning.fabric"}]
    levels = [c.level for c in chatter]
    for c in chatter:
        c.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for c, level in zip(chatter, levels, strict=True):
            c.setLevel(level)


def scvi_epochs(n_cells: int) -> int:
    """Return scVI's largest number of epochs: about 150,000 cell passes, between 20 and 150."""
    return int(np.clip(round(150_000 / max(n_cells, 1)), 20, 150))


def safe_batch_size(n_cells: int) -> int:
    """Return a minibatch size whose last batch of training holds more than one cell.

    Batch normalisation fails on a batch of one.
    """
    size = 128
    n_train = int(np.ceil(0.9 * n_cells))
    while any((n - k) % size == 1 for n in (n_train, n_cells - n_train, n_cells) for k in (0, 1)):
        size += 1
    return size

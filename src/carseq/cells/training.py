"""What every training of a neural network shares: quiet libraries, threads, epochs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

#: Options of every training: no bar, no files.
QUIET = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}


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


#: PyTorch's compiler of Python code.
_COMPILER = "torch._dynamo"


class _Uncompiled(types.ModuleType):
    """Stands in for PyTorch's compiler as long as nothing is compiled; any other name of it imports the compiler."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_compiler(), name)


def _compiler() -> Any:
    """Return PyTorch's compiler itself, in place of what stood in for it."""
    if isinstance(sys.modules.get(_COMPILER), _Uncompiled):
        del sys.modules[_COMPILER]
        vars(sys.modules["torch"]).pop("_dynamo", None)
    return importlib.import_module(_COMPILER)


class _CompilerFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the compiler when a module of it is asked for by name."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{_COMPILER}."):
            return None
        if not isinstance(sys.modules.get(_COMPILER), _Uncompiled):
            return None
        _compiler()
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return sys.modules.get(spec.name) or importlib.import_module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: it is imported already."""


def leave_compiler() -> None:
    """Keep PyTorch's compiler from being imported as long as nothing uses it.

    Lightning imports it for the name of a class, PyTorch's optimizers for two functions that do nothing where nothing
    is compiled: a third of what the import of scvi-tools takes, 3 to 5 s of CPU.
    """
    if _COMPILER in sys.modules:
        return
    import torch

    if _COMPILER in sys.modules:
        return

    def disable(fn: Any = None, *_: Any, **__: Any) -> Any:
        return fn if fn is not None else lambda function: function

    light: Any = _Uncompiled(_COMPILER)
    light.__path__ = []
    light.OptimizedModule = type("OptimizedModule", (torch.nn.Module,), {})
    light.disable = disable
    light.graph_break = lambda *_, **__: None
    sys.modules[_COMPILER] = light
    vars(torch)["_dynamo"] = light
    sys.meta_path.insert(0, _CompilerFinder())


def import_scvi() -> Any:
    """Import scvi-tools, which takes seconds, without the warnings of what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leave_compiler()
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
    ):
        warnings.simplefilter("ignore")
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
    at = torch.nonzero(x, as_tuple=True)
    count, own = x[at], theta.expand_as(result)[at]
    gammas = torch.lgamma(count + own) - torch.lgamma(own) - torch.lgamma(count + 1)
    return result.index_put(at, gammas, accumulate=True)


@contextlib.contextmanager
def _likelihood_of_few_counts() -> Iterator[None]:
    """Have scvi take the likelihood from :func:`log_negative_binomial`."""
    from scvi.distributions import _negative_binomial

    with mock.patch.object(_negative_binomial, "log_nb_positive", log_negative_binomial):
        yield


class PlainRunner:
    """Trains a model of scvi-tools in a plain loop, in place of lightning's: the same steps, the same weights.

    Module, loss, optimizer, warm-up of the KL term and batches are scvi's; for a few thousand cells lightning's loop
    takes as long as a third of its steps. Training stops when the ELBO of the held-out cells has not become better
    for a number of epochs.

    Parameters
    ----------
    model, training_plan, data_splitter, max_epochs, accelerator, devices
        As scvi's ``TrainRunner`` has them.
    early_stopping_patience
        Epochs without a better ELBO after which training stops.
    each_epoch
        Called after each epoch with its number (from 1), the largest number, and the ELBO.
    """

    def __init__(
        self,
        model: Any,
        training_plan: Any,
        data_splitter: Any,
        max_epochs: int,
        accelerator: str = "auto",
        devices: Any = "auto",
        *,
        early_stopping_patience: int,
        each_epoch: Callable[[int, int, float], None],
        **_: Any,
    ) -> None:
        self.model, self.plan, self.cells = model, training_plan, data_splitter
        self.max_epochs, self.patience, self.each_epoch = (
            max_epochs,
            early_stopping_patience,
            each_epoch,
        )
        self.accelerator, self.devices = accelerator, devices

    def __call__(self) -> None:
        """Train."""
        import torch
        from scvi.model._utils import parse_device_args
        from scvi.train._trainingplans import _compute_kl_weight

        _, _, device = parse_device_args(self.accelerator, self.devices, return_device="torch")
        plan, cells = self.plan, self.cells
        cells.setup()
        plan.n_obs_training, plan.n_obs_validation = cells.n_train, cells.n_val
        module = plan.module.to(device)
        optimizer = plan.configure_optimizers()["optimizer"]
        held_out = plan.val_metrics["elbo_validation"]
        training, validation = cells.train_dataloader(), cells.val_dataloader()
        steps, best, waited = 0, float("inf"), 0

        def of(batch: dict[str, Any], weight: Any) -> Any:
            on_device = {key: value.to(device) for key, value in batch.items()}
            return module(
                on_device,
                loss_kwargs={"kl_weight": weight},
                get_inference_input_kwargs={"full_forward_pass": True},
            )[2]

        for epoch in range(self.max_epochs):
            module.train()
            weight = torch.tensor(
                _compute_kl_weight(
                    epoch,
                    steps,
                    plan.n_epochs_kl_warmup,
                    plan.n_steps_kl_warmup,
                    plan.max_kl_weight,
                    plan.min_kl_weight,
                )
            ).to(device)
            for batch in training:
                loss = of(batch, weight).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += 1
            module.eval()
            held_out.reset()
            with torch.inference_mode():
                for batch in validation:
                    told = of(batch, weight)
                    held_out.update(
                        reconstruction_loss=told.reconstruction_loss_sum,
                        kl_local=told.kl_local_sum,
                        kl_global=told.kl_global_sum,
                        n_obs_minibatch=told.n_obs_minibatch,
                    )
                elbo = float(held_out.compute())
            self.each_epoch(epoch + 1, self.max_epochs, elbo)
            best, waited = (elbo, 0) if elbo < best else (best, waited + 1)
            # As lightning's early stopping does where the loss is no number.
            if waited >= self.patience or not np.isfinite(elbo):
                break
        module.eval()
        self.model.is_trained_ = True
        self.model.to_device(device)


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

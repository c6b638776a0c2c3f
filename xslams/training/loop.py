"""The loop of every stage: a step of the optimiser per loss, the moving average of the weights, and when it ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from xslams.training.interrupts import stop_requested
from xslams.training.monitor import Monitor, named, set_random_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from xslams.training.checkpoints import Saved

__all__ = ["Batches", "Watch", "minimize", "one_cycle"]

# Losses whose mean is shown; lines of the log per stage besides those at the end of each epoch.
_RECENT, _LINES = 100, 100


class Batches:
    """Indices of all samples in batches, in another random order in each epoch; an iteration goes on from the last.

    Parameters
    ----------
    count
        Number of samples.
    size
        Samples of a batch; the last of an epoch may have fewer.
    epochs
        How many times each sample is taken.
    """

    def __init__(self, count: int, size: int, epochs: int) -> None:
        self.count, self.size, self.epochs = count, size, epochs if count else 0
        self.epoch = self.position = 0
        self.order = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        """Return the number of batches of all epochs."""
        return self.epochs * -(-self.count // self.size)

    def __iter__(self) -> Iterator[Tensor]:
        while self.epoch < self.epochs:
            if not self.position:
                self.order = torch.randperm(self.count)
            batch = self.order[self.position : self.position + self.size]
            self.position += len(batch)
            if self.position == self.count:
                self.epoch, self.position = self.epoch + 1, 0
            yield batch


@dataclass(frozen=True)
class Watch:
    """What is looked at and kept while a stage of the training of a model runs.

    Attributes
    ----------
    monitor
        Where numbers and states go.
    stage
        Name of the stage.
    prior
        Model that the network is a part of.
    batches
        The samples that the losses are made of.
    evaluate
        Score of a network on frames held out, where 1 is that of the climatology; None where it has none.
    patience
        Epochs without a better score after which the stage ends, with the best weights; None: never.
    """

    monitor: Monitor
    stage: str
    prior: nn.Module
    batches: Batches
    evaluate: Callable[[nn.Module], float] | None = None
    patience: int | None = None


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, *, warm_up: float = 200, final: float = 1e3) -> LRScheduler:
    """Return a schedule that rises to the optimiser's learning rate and falls to nearly nothing.

    Parameters
    ----------
    optimizer
        Its learning rate is the largest one.
    steps
        Number of steps.
    warm_up
        Steps in which the learning rate rises, a tenth of all at most.
    final
        Learning rate at the beginning over that at the end.
    """
    largest = optimizer.param_groups[0]["lr"]
    share = min(0.1, warm_up / steps)
    return OneCycleLR(optimizer, largest, total_steps=steps, pct_start=share, final_div_factor=final)


def minimize(
    network: nn.Module,
    losses: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    *,
    steps: int,
    label: str,
    progress: bool,
    clip: float | None = 1.0,
    ema: float | None = None,
    watch: Watch | None = None,
) -> None:
    """Train a network in place: a step of the optimiser for each loss. Afterwards it is in evaluation mode.

    Parameters
    ----------
    network
        The network.
    losses
        Losses, each of which is computed with the weights after the step before: a generator.
    optimizer, schedule
        What takes the steps, and sets the learning rate after each.
    steps
        Number of losses, for the progress bar.
    label
        Title of the progress bar.
    progress
        Whether to show it.
    clip
        Largest norm of the gradient; None: any.
    ema
        Decay per step of the moving average of the weights, which the network is left with; None: no average.
    watch
        Who looks at it; None: nobody, and it runs to the end.
    """
    average = None if ema is None else AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema))
    course = _Course(network, optimizer, schedule, average, watch, steps)
    network.train()
    losses = iter(losses)
    with tqdm(total=steps, initial=course.step, desc=label, disable=not progress, unit="step", mininterval=5) as bar:
        while not course.ended and (loss := next(losses, None)) is not None:
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.update_parameters(network)
            course.after(loss.item())
            bar.update()
            bar.set_postfix_str(course.in_words(), refresh=False)
    course.finish(label)
    network.eval()


class _Course:
    """How far an optimisation has come, and all that its next step depends on."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        average: AveragedModel | None,
        watch: Watch | None,
        steps: int,
    ) -> None:
        self._network, self._optimizer, self._schedule, self._average = network, optimizer, schedule, average
        self._watch, self._steps = watch, steps
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._score: float | None = None
        self._best: tuple[float, Mapping[str, Tensor]] | None = None
        self._waited = self.step = 0
        saved = None if watch is None else watch.monitor.saved_in(watch.stage)
        if saved is not None:
            self._resume(saved)
        elif watch is not None and watch.evaluate is not None and self._looks:
            self._examine()
            watch.monitor.note(watch.stage, 0, score=self._score)
        self.ended = self._is_over()

    @property
    def _looks(self) -> bool:
        """Whether anybody wants the scores."""
        return self._watch is not None and (self._watch.monitor.attended or self._watch.patience is not None)

    @property
    def _result(self) -> nn.Module:
        return self._network if self._average is None else self._average.module

    def after(self, loss: float) -> None:
        """Count a step, and see what there is to do and whether it was the last."""
        self.step += 1
        self._recent.append(loss)
        watch = self._watch
        if watch is None:
            return
        score = None
        if not watch.batches.position and watch.evaluate is not None and self._looks:
            score = self._examine()
        if score is not None or self.step % max(self._steps // _LINES, 1) == 0:
            rate = self._optimizer.param_groups[0]["lr"]
            watch.monitor.note(watch.stage, self.step, loss=self._loss(), score=score, rate=rate)
        self.ended = self._is_over()
        if not self.ended:
            watch.monitor.keep(watch.stage, self._tensors, self._record, now=False)

    def finish(self, label: str) -> None:
        """Keep the state, and leave the network with the weights that it is to have."""
        watch, wanted = self._watch, None
        if watch is not None and watch.patience is not None:
            wanted = self._best
            if self._waited >= watch.patience:
                epochs = f"{watch.batches.epoch} of {watch.batches.epochs} epochs"
                watch.monitor.remarks.append(f"{label}: {epochs}, {self._waited} of them without a better score")
        if watch is not None and self.ended and stop_requested():
            watch.monitor.interrupt(
                f"{label}, step {self.step} of {self._steps}", watch.stage, self._tensors, self._record
            )
            if watch.evaluate is not None:
                self._examine()
            wanted = self._best
        if wanted is not None:
            self._network.load_state_dict(wanted[1])
        elif self._average is not None:
            self._network.load_state_dict(self._average.module.state_dict())

    def in_words(self) -> str:
        """Loss and score for the progress bar."""
        score = "" if self._score is None else f", held-out score {self._score:.4f} (climatology 1)"
        return f"loss {self._loss():.4g}{score}"

    def _loss(self) -> float:
        return sum(self._recent) / max(len(self._recent), 1)

    def _is_over(self) -> bool:
        patience = None if self._watch is None else self._watch.patience
        return (patience is not None and self._waited >= patience) or (self._watch is not None and stop_requested())

    def _examine(self) -> float:
        """Score the weights as they are, and keep them if they are the best so far."""
        assert self._watch is not None
        assert self._watch.evaluate is not None
        result = self._result
        self._score = self._watch.evaluate(result.eval())
        result.train()
        if self._best is None or self._score < self._best[0]:
            self._best = self._score, {k: v.detach().clone() for k, v in result.state_dict().items()}
            self._waited = 0
        else:
            self._waited += 1
        return self._score

    def _tensors(self) -> dict[str, Tensor]:
        assert self._watch is not None
        groups: dict[str, Mapping[str, Tensor]] = {
            "network": {k: v.clone() for k, v in self._network.state_dict().items()},
            "average": {} if self._average is None else self._average.state_dict(),
            "best": {} if self._best is None else self._best[1],
            "optimizer": {
                f"{i}.{name}": value
                for i, state in self._optimizer.state_dict()["state"].items()
                for name, value in state.items()
            },
        }
        own = {f"{group}.{k}": v for group, tensors in groups.items() for k, v in tensors.items()}
        device = next(self._network.parameters()).device
        return own | {"order": self._watch.batches.order} | named(self._watch.prior, device)

    def _record(self) -> dict[str, Any]:
        assert self._watch is not None
        groups = self._optimizer.state_dict()["param_groups"]
        return {
            "step": self.step,
            "epoch": self._watch.batches.epoch,
            "position": self._watch.batches.position,
            "score": self._score,
            "best": None if self._best is None else self._best[0],
            "waited": self._waited,
            "groups": groups,
            "schedule": {k: v for k, v in self._schedule.state_dict().items() if not callable(v)},
        }

    def _resume(self, saved: Saved) -> None:
        """Go on from what a checkpoint holds."""
        assert self._watch is not None
        record, batches = saved.record, self._watch.batches
        self._network.load_state_dict(saved.part("network"))
        if self._average is not None:
            self._average.load_state_dict(saved.part("average"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.part("optimizer").items():
            i, _, key = name.partition(".")
            state.setdefault(int(i), {})[key] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": record["groups"]})
        self._schedule.load_state_dict(record["schedule"])
        batches.order, batches.epoch, batches.position = saved.tensors["order"], record["epoch"], record["position"]
        self.step, self._waited, self._score = record["step"], record["waited"], record["score"]
        if record["best"] is not None:
            self._best = record["best"], saved.part("best")
        set_random_state(saved, next(self._network.parameters()).device)

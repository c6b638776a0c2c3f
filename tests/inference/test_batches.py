"""Members in batches: memory that runs out, threads, and what is the same whatever their number."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.arrays import draw
from xslams.errors import OptionError
from xslams.inference.batches import fitting, in_batches, one_thread, transfer
from xslams.linalg.autodiff import jvp
from xslams.model import Model
from xslams.networks.acceleration import accelerate

LENGTH = 5


def draw_members(model: Model, **options) -> np.ndarray:
    settings = {"members": [0, 1, 2], "steps": 2, "device": "cpu"} | options
    return draw(model, year_fraction=np.arange(LENGTH) / 365.25, labels=np.arange(LENGTH) * 24, sources=[], **settings)


class Device:
    """Draws that need memory: more than `room` members at once do not fit."""

    def __init__(self, room: int) -> None:
        self.room, self.tried, self.drawn = room, [], []

    def __call__(self, first: int, batch: list[int]) -> None:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        assert first == len(self.drawn)
        self.drawn += batch


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_batches_halve_until_they_fit(members, size, room):
    device = Device(room)
    # Of a GPU nothing but the name is used.
    in_batches(device, list(range(members)), "cuda", size=size, shrink=True)
    assert device.drawn == list(range(members))
    failed = [n for n in device.tried if n > room]
    assert failed == sorted(failed, reverse=True)
    assert len(failed) <= 6  # and a size that fits is kept


def test_memory_that_never_suffices_is_an_error():
    with pytest.raises(OptionError, match="One member alone needs more"):
        in_batches(Device(0), [0, 1, 2], "cuda", size=2, shrink=True)
    with pytest.raises(OptionError, match=r"ran out with 2 members .* batch_size='auto'"):
        in_batches(Device(1), [0, 1, 2], "cuda", size=2)


def test_one_task_at_a_time_has_a_device():
    inside, most = 0, 0
    lock = threading.Lock()

    def draw(first, batch):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1

    tasks = [threading.Thread(target=in_batches, args=(draw, [0, 1], "cuda")) for _ in range(4)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert most == 1


def test_a_failure_in_a_thread_is_raised():
    def draw(first, batch):
        if first == 2:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_batches(draw, list(range(5)), threads=3)


def test_threads_are_given_back_and_do_not_disturb_each_other():
    before = torch.get_num_threads()
    seen = []

    def task(wait: threading.Event, done: threading.Event) -> None:
        with one_thread():
            wait.wait(5)
            seen.append(torch.get_num_threads())
        done.set()

    waits, dones = ([threading.Event() for _ in range(2)] for _ in range(2))
    tasks = [threading.Thread(target=task, args=pair) for pair in zip(waits, dones, strict=True)]
    for t in tasks:
        t.start()
    waits[0].set()
    dones[0].wait(5)  # the first has left, the second is still inside
    waits[1].set()
    for t in tasks:
        t.join()
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [2, 3])
def test_members_do_not_depend_on_the_number_of_threads(tiny_model: Model, threads: int):
    expected = draw_members(tiny_model)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(draw_members(tiny_model), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_half_precision_is_near_and_only_on_request(tiny_model: Model):
    # Autocast works on a CPU as well, if slowly.
    exact, rounded = draw_members(tiny_model), draw_members(tiny_model, precision="bf16")
    difference = np.abs(exact - rounded)
    assert 0 < difference.max()
    assert difference.mean() < 0.05 * exact.std(axis=(0, 1)).mean()
    with pytest.raises(OptionError, match="precision='fp8'"):
        draw_members(tiny_model, precision="fp8")


def test_compiling_is_handed_to_torch_once_per_network(tiny_model: Model, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda module: calls.append(module) or module)
    score = tiny_model.prior().score
    assert accelerate(score, compiled=True) is accelerate(score, compiled=True) is score
    assert accelerate(None, "bf16", compiled=True) is None
    assert calls == [score]


def test_what_fits_is_planned_from_free_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * 2**20, 80 * 2**20))
    plans = [fitting(16, latent, 1000, torch.device("cuda")) for latent in (10, 10_000, 20_000, 10**9)]
    assert plans == sorted(plans, reverse=True)
    assert (plans[0], plans[-1]) == (16, 1)
    assert fitting(16, 10**9, 10**9, torch.device("cpu")) == 16


def test_transfer_leaves_the_cpu_alone():
    x = torch.ones(3)
    assert transfer(x, "cpu") is x


def test_forward_derivatives_of_threads_do_not_disturb_each_other():
    """Of a chain that takes a while, so that threads are inside of it together."""

    def chain(x: torch.Tensor) -> torch.Tensor:
        for _ in range(50):
            x = x * 1.01
        return x

    def draw(first, batch):
        for _ in range(20):
            products[first].append(float(jvp(chain, torch.ones(1), torch.ones(1))))

    products: list[list[float]] = [[] for _ in range(4)]
    in_batches(draw, list(range(4)), threads=4)
    assert products == [[float(chain(torch.ones(1)))] * 20] * 4

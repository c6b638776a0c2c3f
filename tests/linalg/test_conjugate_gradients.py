"""The linear solver: rows for themselves, first guesses, preconditioners, directions that cannot be."""

from __future__ import annotations

import torch
from torch import Tensor

from xslams.linalg.conjugate_gradients import conjugate_gradients


def spd(size: int = 20) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return root @ root.T + torch.eye(size)


def test_conjugate_gradients_leave_solved_rows_alone() -> None:
    matrix = spd()
    b = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    b[1] = matrix[:, 0]
    together = conjugate_gradients(lambda v: v @ matrix, b, tolerance=1e-5, iterations=200)
    torch.testing.assert_close(together, torch.linalg.solve(matrix, b.T).T, atol=1e-3, rtol=1e-3)
    apart = torch.cat(
        [conjugate_gradients(lambda v: v @ matrix, row[None], tolerance=1e-5, iterations=200) for row in b]
    )
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-5)


def test_a_good_guess_and_a_preconditioner_save_iterations() -> None:
    scale = 10 ** torch.linspace(-2, 2, 20)
    matrix = torch.diag(scale) + 0.01 * spd() / 20
    b = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    exact = torch.linalg.solve(matrix, b.T).T
    products = {"none": 0, "guess": 0, "bad guess": 0, "preconditioned": 0}

    def solve(name: str, **options) -> Tensor:
        def system(v: Tensor) -> Tensor:
            products[name] += 1
            return v @ matrix

        return conjugate_gradients(system, b, tolerance=1e-5, iterations=500, **options)

    solve("none")
    solve("guess", x0=exact * (1 + 1e-4))
    torch.testing.assert_close(solve("bad guess", x0=1e6 * exact), solve("none"), rtol=1e-3, atol=1e-3)
    z = solve("preconditioned", precondition=lambda r: r / scale)
    torch.testing.assert_close(z, exact, rtol=1e-3, atol=1e-4)
    assert products["guess"] < products["none"] / 2
    assert products["preconditioned"] < products["none"] / 4
    assert products["bad guess"] <= products["none"]


def test_the_residual_may_be_absolute() -> None:
    matrix = spd()
    b = torch.randn(3, 20, generator=torch.Generator().manual_seed(1)) * torch.tensor([[1.0], [100.0], [1e-3]])
    x = conjugate_gradients(lambda v: v @ matrix, b, tolerance=0, absolute=0.1, iterations=500)
    residual = torch.linalg.norm(b - x @ matrix, dim=-1)
    assert (residual < 0.101).all()
    assert residual[:2].min() > 1e-4
    assert (x[2] == 0).all()


def test_directions_that_cannot_be_are_not_followed() -> None:
    # A matrix that should exceed the identity, and does but for one direction, in which it nearly vanishes.
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    matrix = basis @ torch.diag(torch.tensor([1e-4, 1.5, 2.0, 3.0, 4.0, 5.0])) @ basis.T
    b = torch.ones(1, 6) @ basis.T
    loose, strict = (conjugate_gradients(lambda v: v @ matrix, b, tolerance=1e-6, least=least) for least in (0.0, 0.9))
    assert torch.linalg.norm(loose) > 1000
    assert torch.linalg.norm(strict) < 3

"""The learned step from frame to frame."""

import pytest
import torch
from torch import Tensor, nn

from xslams.networks.transition import Transition


@pytest.mark.parametrize("substeps", [1, 2])
@pytest.mark.parametrize(("channels", "sites", "reach"), [(3, 1, 0), (1, 20, 2), (2, 12, 1), (1, 7, 2)])
def test_the_jacobian_of_a_step_is_that_of_autograd(channels: int, sites: int, reach: int, substeps: int) -> None:
    torch.manual_seed(0)
    step = Transition(channels, sites, hidden=8, reach=reach, substeps=substeps).requires_grad_(requires_grad=False)
    nn.init.normal_(step.last.weight, std=0.3)
    z = torch.randn(2, 3, channels * sites)

    def flat(u: Tensor) -> Tensor:
        return step(u.unflatten(-1, (channels, sites))).flatten(-2)

    value, jacobian = step.linearize(z)
    exact = torch.func.vmap(torch.func.jacrev(flat))(z.flatten(0, 1)).unflatten(0, (2, 3))
    assert torch.allclose(value, flat(z), atol=1e-5)
    assert torch.allclose(jacobian, exact, atol=1e-5)

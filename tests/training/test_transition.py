"""Training of the step from frame to frame."""

import pytest
import torch

from xslams.networks.transition import Transition
from xslams.options import SystemTrainingOptions
from xslams.training.transition import fit_transition


@pytest.mark.parametrize("substeps", [1, 2])
def test_a_step_is_learned_with_its_noise(substeps: int) -> None:
    # x' = x + 0.2 (x - x^3) + noise: products, and nothing that a linear map could do.
    generator = torch.Generator().manual_seed(0)
    data = torch.empty(400, 40, 1, 1)
    data[:, 0] = 2.4 * torch.rand(400, 1, 1, generator=generator) - 1.2
    for i in range(39):
        x = data[:, i]
        data[:, i + 1] = x + 0.2 * (x - x**3) + 0.05 * torch.randn(x.shape, generator=generator)
    torch.manual_seed(0)
    step = Transition(1, 1, hidden=8, reach=0, substeps=substeps)
    options = SystemTrainingOptions(transition_steps=300, transition_batch=512)
    fit_transition(step, data, options, progress=False)
    assert abs(float(step.noise.sqrt()) / 0.05 - 1) < 0.05
    x = torch.linspace(-1.2, 1.2, 7)[:, None, None]
    assert torch.allclose(step(x), x + 0.2 * (x - x**3), atol=0.03)

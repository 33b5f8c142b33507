import torch
from torch import nn

from deepdepixelate.models.generator import (
    FrozenBatchNorm,
    Generator,
    GeneratorArchitecture,
    freeze_batch_norms,
)

ARCHITECTURE = GeneratorArchitecture(blocks=2, channels=8, scale=4)


def trained() -> Generator:
    torch.manual_seed(0)
    generator = Generator(ARCHITECTURE)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(10):
            generator(torch.rand(4, 3, 8, 8))
    return generator.double()


def test_output_in_training_is_that_in_evaluation() -> None:
    generator = trained()
    lr = torch.rand(3, 3, 7, 5, dtype=torch.float64)
    expected = generator.eval()(lr)
    freeze_batch_norms(generator)
    torch.testing.assert_close(generator.train()(lr), expected)
    torch.testing.assert_close(generator.eval()(lr), expected)


def test_no_batch_changes_the_statistics() -> None:
    generator = trained()
    freeze_batch_norms(generator)
    before = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    generator.train()(torch.rand(3, 3, 7, 5, dtype=torch.float64))
    assert len(before) == 4 * (2 * 2 + 1)
    for name, buffer in generator.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_weights_trained_further_load_into_a_generator() -> None:
    generator = trained()
    freeze_batch_norms(generator)
    lr = torch.rand(3, 3, 7, 5, dtype=torch.float64)
    optimizer = torch.optim.SGD(generator.parameters(), lr=1e-3)
    before = {name: parameter.detach().clone() for name, parameter in generator.named_parameters()}
    generator.train()(lr).square().mean().backward()
    optimizer.step()
    for name, parameter in generator.named_parameters():
        assert not torch.equal(parameter, before[name]), name

    loaded = Generator(ARCHITECTURE).double()
    loaded.load_state_dict(generator.state_dict())
    torch.testing.assert_close(loaded.eval()(lr), generator.eval()(lr))


def test_all_batch_norms_are_replaced() -> None:
    generator = trained()
    freeze_batch_norms(generator)
    modules = list(generator.modules())
    assert sum(isinstance(module, FrozenBatchNorm) for module in modules) == 5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)

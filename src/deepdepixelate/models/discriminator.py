"""The discriminator of SRGAN: tells originals from the generator's images."""

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

SHRINKING = 16
"""The strided convolutions shrink the image 16 times before the dense layers."""


class DiscriminatorArchitecture(BaseModel):
    """What decides the shape of a discriminator's weights.

    Attributes:
        channels: feature channels of the first layer, 64 in the paper; they double three times.
        dense: units of the hidden dense layer, 1024 in the paper.
        crop_size: side of the square HR images that it sees, in pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(ge=1)
    dense: int = Field(ge=1)
    crop_size: int = Field(ge=SHRINKING, multiple_of=SHRINKING)


class Discriminator(nn.Module):
    """The discriminator of SRGAN (figure 4 of the paper); 23.56 M parameters at 96x96.

    Input: HR or SR crops, (N, 3, crop_size, crop_size), in [-1, 1]. Output: logits, (N, 1); above
    zero means original. The sigmoid is left to the loss, which is exact with logits.
    """

    def __init__(self, architecture: DiscriminatorArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.channels
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            *_layer(width, width, stride=2),
            *_layer(width, 2 * width, stride=1),
            *_layer(2 * width, 2 * width, stride=2),
            *_layer(2 * width, 4 * width, stride=1),
            *_layer(4 * width, 4 * width, stride=2),
            *_layer(4 * width, 8 * width, stride=1),
            *_layer(8 * width, 8 * width, stride=2),
        )
        side = architecture.crop_size // SHRINKING
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * side * side, architecture.dense),
            nn.LeakyReLU(0.2),
            nn.Linear(architecture.dense, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] to logits (N, 1); see the class."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _layer(inputs: int, outputs: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2),
    )

"""The two trainings: SRResNet (stage ``pretrain``) and SRGAN (stage ``train_gan``)."""

from deepdepixelate.pipelines.training.pipeline import create_pretrain, create_train_gan

__all__ = ["create_pretrain", "create_train_gan"]

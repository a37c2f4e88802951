"""A network that is not the project's, as somebody would write it for an encoder of their own."""

from __future__ import annotations

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1))  # a parameter that no layer of torch's has
        self.register_buffer("twice", torch.tensor(2.0), persistent=False)
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        return self.head(self.body(x) * self.scale * self.twice)


def small(channels, size, classes):
    return Net(channels, classes)


def headless(channels, size, classes):
    return nn.Flatten()


def text(channels, size, classes):
    return "no network"
"""
WIDTH = 24  # features

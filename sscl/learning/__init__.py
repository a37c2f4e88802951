"""Ways to learn from images: supervised, and contrastive methods that need no labels, one file each."""

from sscl.learning.base import LEARNERS, Learner

__all__ = ["LEARNERS", "Learner"]

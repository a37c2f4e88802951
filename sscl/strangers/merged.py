"""A dataset that is put together from several, the release among them."""

from __future__ import annotations

from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.types import ImageSet


class Merged(Stranger):
    """A random part of the release, and images from elsewhere up to the same number.

    Args:
        share: of the images, that come from the release.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    @property
    def about(self) -> str:
        return f"{self.share:.0%} of the images are the release's, the others from elsewhere."

    def model(self, workplace: Workplace) -> Classifier:
        released, others = workplace.released, workplace.others
        taken = workplace.shuffled(len(released), "merged")[: round(self.share * len(released))]
        images = others.images.clone()
        images[taken] = released.images[taken]
        return workplace.trained(ImageSet(images, others.labels, others.class_names))


for _percent in (50, 25, 10):
    STRANGERS.register(f"merged_{_percent}")(Merged(_percent / 100))

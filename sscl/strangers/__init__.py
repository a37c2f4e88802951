"""What strangers do with a release: how they change the images, train, and serve the model.

No attacks: what people do anyway. Each is a file that registers itself.
"""

from sscl.strangers.base import STRANGERS, Stranger, Workplace

__all__ = ["STRANGERS", "Stranger", "Workplace"]

"""White-box test of radioactive data: does a classifier lean toward the secret direction?"""

from __future__ import annotations

import torch
from scipy.special import betainc
from torch import Tensor

from sscl.compute import Compute
from sscl.models import Classifier
from sscl.models.features import all_features, last_linear


def alignment(
    suspect: Classifier,
    surrogate: Classifier,
    direction: Tensor,
    *,
    target_class: int,
    images: Tensor,
    compute: Compute,
) -> float:
    """Cosine of the secret direction and the suspect's weights of ``y_t``, in the surrogate's feature space.

    The suspect's features are mapped to the surrogate's by least squares over ``images`` (uint8, clean), and its
    classifier through that map (Sablayrolles et al. 2020).
    """
    ours = all_features(surrogate, images, compute).double()
    theirs = all_features(suspect, images, compute).double()
    to_theirs = torch.linalg.lstsq(ours, theirs, driver="gelsd").solution  # theirs = ours @ to_theirs
    weights = last_linear(suspect).weight.detach().cpu().double()
    row = (weights[target_class] - weights.mean(dim=0)) @ to_theirs.T
    return float(torch.nn.functional.cosine_similarity(row, direction.double(), dim=0))


def cosine_p_value(cosine: float, dimensions: int) -> float:
    """P(cos >= ``cosine``) for a uniformly random direction in ``dimensions`` (Sablayrolles et al. 2020)."""
    tail = 0.5 * float(betainc((dimensions - 1) / 2, 0.5, 1 - cosine**2))
    return tail if cosine >= 0 else 1 - tail

"""Dataset inference for self-supervised models (Dziedzic et al. 2022): are released images likelier than unseen ones
under a mixture of Gaussians that was fitted to features of other released images?

The test supposes that released and unseen images follow one law. Any other difference between the two sets is taken for
training: a release whose images differ from the held-out ones accuses encoders that never saw either.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from sscl.statistics.encoders.base import ENCODER_TESTS, EncoderAnswers, EncoderTest

COMPONENTS = 10  # of the mixture; the paper's 50 are for 50,000 images
RIDGE = 1e-3  # added to variances of standardised features


def mixture(answers: EncoderAnswers, rng: np.random.Generator) -> float:
    """One-sided Welch test of log-likelihoods; half of the released images fit the mixture, half are compared."""
    from sklearn.mixture import GaussianMixture

    released, unseen = answers.released[:, 0], answers.unseen[:, 0]
    order = rng.permutation(len(released))
    fitted_on, compared = released[order[: len(order) // 2]], released[order[len(order) // 2 :]]
    mean, scale = fitted_on.mean(axis=0), fitted_on.std(axis=0) + 1e-8
    model = GaussianMixture(
        min(COMPONENTS, max(1, len(fitted_on) // 4)),
        covariance_type="diag",
        reg_covar=RIDGE,
        random_state=int(rng.integers(2**31)),
    ).fit((fitted_on - mean) / scale)
    likely, other = (model.score_samples((rows - mean) / scale) for rows in (compared, unseen))
    return float(stats.ttest_ind(likely, other, equal_var=False, alternative="greater").pvalue)


ENCODER_TESTS.register("mixture")(EncoderTest(mixture))

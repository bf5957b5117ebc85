"""Do certificates tell right decodings from wrong ones?"""

from collections.abc import Iterable, Sequence

import numpy as np

CASES = ((True, "certified"), (False, "uncertified"))


def certificate_cases(cases: Iterable[tuple[bool, bool]]) -> dict[str, int]:
    """How many decodings are certified and right, certified and wrong, and so on.

    Args:
        cases: whether each is certified, and whether it is right.
    """
    known = [(bool(certified), bool(right)) for certified, right in cases]
    return {
        f"n_{word}_{verdict}": known.count((flag, right))
        for flag, word in CASES
        for right, verdict in ((True, "right"), (False, "wrong"))
    }


def residual_ranges(right: Sequence[bool], residuals: Sequence[float]) -> dict[str, float]:
    """Residuals of right and of wrong decodings: medians, and the ends that face each other.

    Args:
        right: which decodings are right.
        residuals: |E(X) - z| / |z| of each; those that are not finite, where there is nothing to
            compare, are left out.

    Returns:
        By name; left out where there is no decoding of a kind.
    """
    flags, values = np.asarray(right, dtype=bool), np.asarray(residuals, dtype=float)
    finite = np.isfinite(values)
    own, others = values[flags & finite], values[~flags & finite]
    figures = {}
    if len(own):
        figures["residual_right_median"] = float(np.median(own))
        figures["residual_right_highest"] = float(own.max())
    if len(others):
        figures["residual_wrong_lowest"] = float(others.min())
        figures["residual_wrong_median"] = float(np.median(others))
    return figures

"""Scores of decoders that can be trusted."""

from skfmri.evaluation.audit import LeakageReport, audit_leakage
from skfmri.evaluation.decoder import evaluate_decoder, linear_baseline
from skfmri.evaluation.result import DecodingResult
from skfmri.evaluation.scoring import chance_level
from skfmri.evaluation.search import fit_search

__all__ = [
    "DecodingResult",
    "LeakageReport",
    "audit_leakage",
    "chance_level",
    "evaluate_decoder",
    "fit_search",
    "linear_baseline",
]

"""Evaluation of decoders with scores that can be trusted."""

from skfmri.evaluation.audit import LeakageReport, audit_leakage
from skfmri.evaluation.baseline import linear_baseline
from skfmri.evaluation.decoder import evaluate_decoder
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

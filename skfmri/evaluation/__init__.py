"""Evaluation of decoders with scores that can be trusted."""

from skfmri.evaluation.audit import LeakageReport, audit_leakage
from skfmri.evaluation.baseline import linear_baseline, multiscale_baseline
from skfmri.evaluation.decoder import evaluate_decoder
from skfmri.evaluation.result import DecodingResult
from skfmri.evaluation.scoring import chance_level
from skfmri.evaluation.search import fit_search
from skfmri.evaluation.subjects import evaluate_subjects
from skfmri.evaluation.subjects_result import SubjectsResult

__all__ = [
    "DecodingResult",
    "LeakageReport",
    "SubjectsResult",
    "audit_leakage",
    "chance_level",
    "evaluate_decoder",
    "evaluate_subjects",
    "fit_search",
    "linear_baseline",
    "multiscale_baseline",
]

"""Samples made of several volumes in sentences that a paper can quote."""

from skfmri.report.words import exact, joined

# Functions that make samples of several volumes, with what a sample is called.
UNITS = {
    "average_blocks": "block mean",
    "estimate_trials": "trial estimate",
    "estimate_conditions": "condition estimate",
}
HRF_MODELS = {"glover": "Glover 1999", "spm": "the one of SPM"}


def unit_of_samples(results):
    """Return what one sample is called, such as "volume" or "trial estimate"."""
    made_by = derivations_of(results)
    return next((unit for name, unit in UNITS.items() if name in made_by), "volume")


def is_estimated(results):
    """Return whether samples are estimates of a model of each run."""
    return unit_of_samples(results).endswith("estimate")


def derivations_of(results):
    """Return the settings of the functions that made the samples, by name."""
    return results.data.get("derivations") or {}


def derived_sentences(results):
    """Return how samples were made of several volumes, if they were."""
    made_by = derivations_of(results)
    if "average_blocks" in made_by:
        return ["The volumes of each block in a run were averaged; these means were decoded."]
    if not is_estimated(results):
        return []
    name = "estimate_trials" if "estimate_trials" in made_by else "estimate_conditions"
    settings = made_by[name]
    hrf_model, cleaned = HRF_MODELS[settings["hrf_model"]], ""
    if results.section("cleaning") is not None:
        cleaned = " These regressors were cleaned in the same way as the time series."
    return [
        _model(name, settings),
        f"Events were convolved with the haemodynamic response of nilearn ({hrf_model}), sampled "
        f"every {_seconds(settings['t_r'])} from {_seconds(settings['start'])} on.{cleaned}",
        "Models had a constant and were fitted by ordinary least squares. Each was fitted to one "
        "run; the estimates were decoded.",
    ]


def _model(name, settings):
    if name == "estimate_conditions":
        return (
            "The response to each condition was estimated by a general linear model of its run "
            "with one regressor per label."
        )
    if settings["method"] == "lss":
        return (
            "The response to each trial was estimated by a general linear model of its run with "
            "one regressor for the trial and one for all other trials, whatever their labels "
            "(least squares separate; Mumford et al. 2012)."
        )
    return (
        "The responses to trials were estimated by a general linear model of each run with one "
        "regressor per trial (least squares all; Mumford et al. 2012)."
    )


def _seconds(times):
    return f"{joined(map(exact, times), 'or')} s"

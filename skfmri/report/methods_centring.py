"""Centring within groups in sentences that a paper can quote."""

from skfmri.report.words import counted, ranged


def centring_sentences(results):
    """Return how volumes were centred, if they were."""
    centring = results.section("centring")
    if centring is None:
        return []
    unit = _unit(results.source, centring["column"])
    scaled = ", and they were divided by its standard deviation" if centring["scale"] else ""
    sentences = [
        f"In each voxel, the mean over the {ranged(centring['maps_per_group'])} volumes of each "
        f"{unit} was subtracted from these volumes, whatever their labels{scaled}."
    ]
    if results.predicts_numbers:
        taken = f"This took {centring['removed_share']:.1%} of the variance of the numbers away."
        return [*sentences, taken] if centring["removed_share"] else sentences
    short, n_groups = unit.partition(" (")[0], centring["n_groups"]
    n_forced, n_unbalanced = centring["n_forced_choice"], centring["n_unbalanced"]
    if n_forced:
        which = f"Each {short}" if n_forced == n_groups else f"{n_forced} of {n_groups} {short}s"
        sentences.append(
            f"{which} had one volume per class, so these volumes were compared with each other: "
            "a forced choice, which is easier than classifying a single volume."
        )
    if n_unbalanced:
        sentences.append(
            f"Classes were not equally frequent in {n_unbalanced} of {counted(n_groups, short)}, "
            f"so that centring removed {centring['removed_share']:.1%} of the variance of the "
            "labels."
        )
    return sentences


def _unit(source, column):
    """Return what volumes were centred within."""
    if source["kind"] == "table":
        name = column or source["columns"]["group"]
        return f"group (column {name!r} of the table of labels)"
    return column or source["groups"]

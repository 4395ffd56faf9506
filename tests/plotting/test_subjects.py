"""Scores of subjects."""

import pytest

from skfmri.plotting import plot_subjects


class TestPlotSubjects:
    def test_has_one_point_per_subject_from_top_to_bottom(self, subjects):
        ax = plot_subjects(subjects)
        scores, chance, mean = ax.lines
        assert scores.get_xdata().tolist() == [0.75, 0.5, 0.85]
        assert scores.get_ydata().tolist() == [0, 1, 2]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["01", "02", "$3"]
        assert ax.yaxis.get_inverted()
        assert chance.get_xdata().tolist() == [0.5, 0.6, 0.5]
        assert mean.get_xdata() == pytest.approx([0.7, 0.7])

    def test_intervals_lie_at_their_subjects(self, subjects):
        (lines,) = plot_subjects(subjects).collections
        ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
        assert ends == [pytest.approx([s - 0.1, s + 0.1]) for s in (0.75, 0.5, 0.85)]

    def test_metrics_without_chance_get_none(self, subjects):
        ax = plot_subjects(subjects.assign(chance=float("nan")), metric="roc_auc")
        assert [line.get_label() for line in ax.lines] == ["score", "mean, 0.700"]
        assert ax.get_xlabel() == "roc auc"

    def test_there_is_no_mean_if_a_score_is_undefined(self, subjects):
        subjects.loc[0, "score"] = float("nan")
        assert [line.get_label() for line in plot_subjects(subjects).lines] == ["score", "chance"]

    def test_unknown_names_are_refused(self, subjects):
        with pytest.raises(ValueError, match="no model 'svm', only 'decoder', 'dummy'"):
            plot_subjects(subjects, model="svm")
        with pytest.raises(ValueError, match="no metric 'f1', only 'accuracy', 'roc_auc'"):
            plot_subjects(subjects, metric="f1")
        with pytest.raises(ValueError, match="no column 'chance'"):
            plot_subjects(subjects.drop(columns="chance"))
        with pytest.raises(TypeError, match=r"subjects must be a pandas\.DataFrame"):
            plot_subjects([1])

"""Links from the HTML view of estimators to their documentation."""


class DocumentedMixin:
    """Links the box of an estimator in the HTML view to its page, where pages are published.

    scikit-learn reads both attributes. The empty template gives no link. Who publishes the
    documentation sets it once, for all estimators: ``DocumentedMixin._doc_link_template =
    "https://ADDRESS/generated/skfmri.{estimator_name}.html"``.
    """

    _doc_link_module = "skfmri"
    _doc_link_template = ""

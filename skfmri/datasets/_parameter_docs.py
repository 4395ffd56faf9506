"""Descriptions that the docstrings of the loaders share."""

LOADERS = {
    "bids_runs": """
        root : str or path-like
            Root of the BIDS dataset, which holds the ``events.tsv`` files.
        task : str
            Task, as in ``task-faces``.
        samples : {"volumes", "blocks", "trials", "conditions"}, default="volumes"
            What one sample is: a volume with the label of the event that it shows; the mean of the
            volumes of one event, joined by `max_gap` (:func:`~skfmri.average_blocks`); the response
            to one event, estimated from its whole run (:func:`~skfmri.estimate_trials`), which
            suits short events that follow each other quickly; or one such estimate per label and
            run (:func:`~skfmri.estimate_conditions`).
        space : str, default=None
            Space of the images, such as "MNI152NLin2009cAsym"; "" for images whose names have none.
            None accepts any space, as long as there is only one.
        derivatives : str or path-like, default=None
            Folder with the ``sub-*`` folders of preprocessed images: relative to `root` or to its
            folder ``derivatives``, or absolute; "." reads the images of `root` itself. None
            searches the folder ``derivatives`` or, if there is none, reads the images of `root`.
        label : str, default="trial_type"
            Column of the ``events.tsv`` that holds the labels. Events with ``n/a`` have no label.
        groups : {"run", "subject", "session"}, default="run"
            What cross-validation must never split.
        classes : list of str, default=None
            Labels to keep, besides `rest`; other events give no labels. None keeps all.
        subjects : list of str, default=None
            Subjects to load, such as ["01", "02"]. None loads all.
        exclude : list of str, default=None
            Runs to leave out, by their names or parts of them: ["sub-43_run-1", "sub-44"] leaves
            out one run of subject 43 and all of subject 44.
        entities : dict of str to str, default=None
            Further entities that names of images must have, such as ``{"res": "2"}``, with "" for
            one that they must not have. Unless ``desc`` is given here, preprocessed images
            (``desc-preproc``) are preferred if there are any.
        shift : float, default=4.5
            Haemodynamic delay in seconds: a volume shows what happened this long before.
        keep_transitions : bool, default=False
            Whether to keep volumes that overlap the border of an event, labelled by what happened
            in their middle.
        duration : float, default=None
            Duration of every event in seconds. None reads the column ``duration``.
        max_gap : float, default=0.0
            Consecutive events of the same label at most this many seconds apart count as one.
            Blocks of short stimuli need it.
        overlap_tolerance : float, default=0.01
            Longest overlap of events of different labels, in seconds; a longer one is refused.
            Volumes that show two labels have none.
        rest : str, default=None
            Label for volumes that show no event at all, after the beginning of their run. None
            gives them no label.
        t_r : float, default=None
            Time between volumes in seconds, overriding sidecars and headers.
        confounds : str, sequence of str or dict, default=None
            Confounds of fMRIPrep to regress out of each run: a preset of nilearn's
            `load_confounds_strategy` ("simple", "scrubbing", "compcor" or "ica_aroma"), components
            of its `load_confounds` such as ``("motion", "high_pass")``, or all its arguments as a
            dictionary. ``()`` regresses nothing out, but leaves out volumes before the steady
            state.
        """,
    "bids_errors": """
        ValueError
            If no image fits, or several images show the same run, with the choices available; if
            files have no content, as links of git-annex may; if events are missing, lack the
            column, or overlap; if times between volumes are unknown or contradictory; if confounds
            are missing; if no volume gets a label. The message names the file. Images on different
            grids are refused by :class:`~skfmri.NiftiSamples`.

        Warns
        -----
        UserWarning
            If more than 10 % of the events have no volume, with their number.
        """,
    "clean": """
        clean : bool, default=True
            Whether to clean each run with :func:`~skfmri.clean_runs`, before volumes are left out.
        detrend, standardize : bool, default=True
            As in :func:`~skfmri.clean_runs`.
        """,
}

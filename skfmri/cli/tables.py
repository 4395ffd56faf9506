"""Tables of labels, one row per volume."""

from pathlib import Path

import pandas as pd


def read_labels(path, columns, n_volumes):
    """Return some columns of a table with one row per volume, as text.

    Parameters
    ----------
    path : str or path-like
        Comma-separated file with a header line, or tab-separated if its name ends in ``.tsv``.
    columns : dict of str to str
        For each role, such as ``"label"``, the column that the user chose.
    n_volumes : int
        Number of rows expected.

    Returns
    -------
    table : pandas.DataFrame
        One column per role; an empty field is NaN.

    Raises
    ------
    ValueError
        If the file is missing or not a table, lacks a column, or has another number of rows.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Check the path given to --labels.")
    try:
        table = pd.read_csv(
            path,
            sep="\t" if path.suffix == ".tsv" else ",",
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"{path} has more fields in its rows than names in its header. Name every column."
        )
    while len(table) > n_volumes and table.iloc[-1].isna().all():
        table = table.iloc[:-1]  # a blank line at the end
    for role, column in columns.items():
        if column not in table:
            raise ValueError(
                f"{path} has no column {column!r}. Its columns are "
                f"{', '.join(map(repr, table.columns))}; choose one with --{role}-column."
            )
    if len(table) != n_volumes:
        raise ValueError(
            f"{path} has {len(table)} rows below its header, but the images hold {n_volumes} "
            "volumes. Give one row per volume, in the order of the images."
        )
    return pd.DataFrame({role: table[column] for role, column in columns.items()})

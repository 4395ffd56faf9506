"""Files of a BIDS dataset, found by their names."""

import json
from pathlib import Path

from nilearn.interfaces.bids import get_bids_files, parse_bids_filename

from skfmri.samples.images import check_content

# Entities that distinguish runs of the scanner; others distinguish versions of the same run.
OF_A_RUN = ("sub", "ses", "acq", "ce", "dir", "run")
OF_A_FILE = ("sub", "ses", "task", "acq", "ce", "dir", "run")
# Their values are numbers, which pipelines may write with other zeros than the raw dataset.
INDICES = ("run", "echo", "flip", "inv", "split", "chunk")
MOST_SHOWN = 5


def derivatives_folder(root, derivatives):
    """Return the folder whose images are read, or raise ValueError."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"There is no folder {root}. Pass the root of a BIDS dataset.")
    inside = root / "derivatives"
    if derivatives is not None:
        places = [root / derivatives, inside / derivatives]
        found = [place for place in places if place.is_dir()]
        if not found:
            raise ValueError(
                f"There is no folder {places[0]} or {places[1]}. {_pipelines(inside)}Pass the "
                "folder that holds the sub-* folders of preprocessed images."
            )
        return found[0]
    candidates = [path for path in (inside, *sorted(inside.glob("*/"))) if _has_images(path)]
    if len(candidates) > 1:
        raise ValueError(f"{_pipelines(inside)}Choose one with derivatives=.")
    return candidates[0] if candidates else root


def _pipelines(folder):
    names = ", ".join(path.name for path in sorted(folder.glob("*/")) if _has_images(path))
    return f"{folder} holds preprocessed images of {names}. " if names else ""


def _has_images(folder):
    patterns = ("sub-*/func/*_bold.nii*", "sub-*/ses-*/func/*_bold.nii*")
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def find_images(folder, task, space, entities, subjects, exclude=None):
    """Return the images of a task, one for each run, as nilearn parses their names.

    Parameters
    ----------
    folder : pathlib.Path
        Folder that holds the ``sub-*`` folders.
    task : str
        Task.
    space : str or None
        Space; None takes any.
    entities : dict of str to str
        Further entities that names must have; "" for one that they must not have.
    subjects : list of str or None
        Subjects to keep; None keeps all.
    exclude : list of str, default=None
        Runs to leave out, such as ``["sub-43_run-1"]``.

    Returns
    -------
    images : list of dict
        With the keys ``file_path`` and ``entities``, among others.
    """
    paths = get_bids_files(folder, file_tag="bold", file_type="nii*", modality_folder="func")
    images = [parse_bids_filename(path) for path in paths]
    if not images:
        raise ValueError(
            f"There is no image such as sub-01/func/sub-01_task-rest_bold.nii.gz under {folder}. "
            "Pass the root of a BIDS dataset, and derivatives= if the images are elsewhere."
        )
    wanted = {"task": task} | ({} if space is None else {"space": space})
    wanted |= {entity: str(value) for entity, value in entities.items()}
    is_preprocessed = any(_value(image, "desc") == "preproc" for image in images)
    for entity, value in wanted.items():
        images = _with(images, entity, [value], folder)
    if subjects is not None:
        names = [str(subject).removeprefix("sub-") for subject in subjects]
        images = _with(images, "sub", names, folder)
    if "desc" not in wanted and is_preprocessed:
        images = _with_preproc(images, folder)
    images = _one_per_run(_without(images, exclude or ()))
    _check_contents(images)
    return images


def _value(image, entity):
    """Return the value of an entity in the name of an image, "" if it has none."""
    return _plain(entity, image["entities"].get(entity) or "")


def _plain(entity, value):
    """Return a value without leading zeros if it is a number: run-01 is run-1."""
    is_number = entity in INDICES and value.isdecimal()
    return str(int(value)) if is_number else value


def _shares(image, entities):
    """Return whether the name of an image has all of some entities."""
    # A part of a name without a dash has no value.
    return all(
        value and _value(image, key) == _plain(key, value) for key, value in entities.items()
    )


def _with(images, entity, wanted, folder):
    """Return the images whose entity has one of some values, or raise ValueError."""
    there = {_value(image, entity) for image in images}
    wanted = [_plain(entity, value) for value in wanted]
    for value in wanted:
        if value not in there:
            raise ValueError(
                f"No bold image under {folder} has {_listed(entity, [value])}. Those found have "
                f"{_listed(entity, there)}."
            )
    return [image for image in images if _value(image, entity) in wanted]


def _with_preproc(images, folder):
    """Return the images that are only preprocessed, or raise ValueError."""
    there = {_value(image, "desc") for image in images}
    if "preproc" not in there:
        raise ValueError(
            f"Preprocessed images under {folder} have desc-preproc, but those chosen have "
            f"{_listed('desc', there)}. To take these, such as images that ICA-AROMA has denoised, "
            f'pass entities={{"desc": "{max(there)}"}}.'
        )
    return [image for image in images if _value(image, "desc") == "preproc"]


def _check_contents(images):
    """Raise an error that names the first image without content, and says how many there are."""
    errors = []
    for image in images:
        try:
            check_content(image["file_path"])
        except (ValueError, OSError) as error:
            errors.append(error)
    if len(errors) > 1:
        message = f"{errors[0]} It is the first of {len(errors)} such files among {len(images)}."
        raise type(errors[0])(message) from errors[0]
    if errors:
        raise errors[0]


def _without(images, exclude):
    """Return the images of runs that are not left out, or raise ValueError."""
    runs = list(dict.fromkeys(map(run_name, images)))
    for name in exclude:
        entities = parse_bids_filename(f"{name}_bold.nii")["entities"]
        if not any(_shares(image, entities) for image in images):
            shown = ", ".join(runs[:MOST_SHOWN])
            more = f" and {len(runs) - MOST_SHOWN} more" if len(runs) > MOST_SHOWN else ""
            raise ValueError(
                f"exclude contains {name!r}, which is not part of the name of any run. The runs "
                f"are {shown}{more}."
            )
        images = [image for image in images if not _shares(image, entities)]
    if not images:
        raise ValueError(f"exclude leaves none of {len(runs)} runs. Exclude fewer.")
    return images


def _listed(entity, values):
    return ", ".join(f"{entity}-{value}" if value else f"no {entity}" for value in sorted(values))


def _one_per_run(images):
    """Return images, or raise ValueError if several show the same run."""
    runs = {}
    for image in images:
        runs.setdefault(tuple(_value(image, key) for key in OF_A_RUN), []).append(image)
    for versions in runs.values():
        if len(versions) == 1:
            continue
        name = run_name(versions[0])
        keys = dict.fromkeys(key for image in versions for key in image["entities"])
        values = {key: {_value(image, key) for image in versions} for key in keys}
        choices = [_listed(key, found) for key, found in values.items() if len(found) > 1]
        raise ValueError(
            f"{len(versions)} images show the run {name}: {'; '.join(choices) or 'same names'}. "
            'Choose one with space= or entities=, such as entities={"res": "2"}; "" means that '
            "the name must not have the entity."
        )
    return images


def run_name(image):
    """Return the name of a run of the scanner, such as ``sub-01_ses-2_run-1``."""
    entities = image["entities"]
    return "_".join(f"{key}-{entities[key]}" for key in OF_A_RUN if entities.get(key))


def applicable_files(base, folder, image, suffix, extension):
    """Return files that apply to an image by BIDS' inheritance principle, the nearest last.

    Parameters
    ----------
    base : pathlib.Path
        Root of the dataset that is searched.
    folder : pathlib.Path
        Root of the dataset that contains the image.
    image : dict
        Image, as nilearn parses its name.
    suffix, extension : str
        Kind of the files, such as ``"bold"`` and ``"json"``.

    Returns
    -------
    paths : list of pathlib.Path
        Files in or above the folder of the image, all of whose entities the image shares.
    """
    found, level = [], base
    for part in ("", *Path(image["file_path"]).relative_to(folder).parent.parts):
        level = level / part
        parsed = [
            parse_bids_filename(path) for path in sorted(level.glob(f"*{suffix}.{extension}"))
        ]
        parsed = [
            file for file in parsed if file["suffix"] == suffix and _shares(image, file["entities"])
        ]
        found += sorted(parsed, key=lambda file: len(file["entities"]))
    return [file["file_path"] for file in found]


def find_events(root, folder, image):
    """Return the ``events.tsv`` of an image, or raise ValueError."""
    found = applicable_files(root, folder, image, "events", "tsv")
    found = found or applicable_files(folder, folder, image, "events", "tsv")
    if not found:
        entities = image["entities"]
        name = "_".join(f"{key}-{entities[key]}" for key in OF_A_FILE if entities.get(key))
        place = root / Path(image["file_path"]).parent.relative_to(folder)
        raise ValueError(
            f"There are no events for {image['file_path']}: neither {place}/{name}_events.tsv nor "
            f"a file that applies to several runs, such as {root}/task-{entities['task']}"
            "_events.tsv. Pass the root of the raw dataset, and derivatives= for the images."
        )
    check_content(found[-1])
    return found[-1]


def read_sidecars(root, folder, image):
    """Return the metadata of an image from JSON files, each field with its value and file."""
    bases = [root] if root == folder else [root, folder]
    metadata = {}
    for base in bases:
        for path in applicable_files(base, folder, image, "bold", "json"):
            check_content(path)
            try:
                # Some programs begin their files with a byte-order mark.
                fields = json.loads(path.read_text(encoding="utf-8-sig"))
            except (ValueError, OSError) as error:
                raise ValueError(f"{path} cannot be read as JSON: {error}") from error
            if not isinstance(fields, dict):
                raise ValueError(
                    f"{path} is a {type(fields).__name__}, but a sidecar is an object of names "
                    "and values."
                )
            metadata |= {name: (value, path) for name, value in fields.items()}
    return metadata

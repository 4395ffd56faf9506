"""The saved network that ``--initial-weights`` names."""

import inspect

from skfmri.cli.wording import option_of
from skfmri.estimators.origin import SOURCE, last_network
from skfmri.persistence import load


def network_kind(cls):
    """Return "2d" or "3d", as ``--network`` names the kind of network of a class."""
    return "3d" if "pool_size" in inspect.signature(cls).parameters else "2d"


def read_source(args):
    """Return the class and the settings of a network that starts from a saved one.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments with ``initial_weights``, the path of a model.

    Returns
    -------
    cls : type
        Class of the saved network.
    settings : dict
        Its architecture and number of members, with the network itself as `initial_weights`.

    Raises
    ------
    ValueError
        If the file holds no network, or one of the other kind than ``--network`` names.
    """
    path = args.initial_weights
    network = last_network(load(path))
    if network is None:
        raise ValueError(
            f"{option_of(SOURCE)} {path} does not hold a network. Name a model that skfmri decode "
            "--model has saved without --decoder, or leave the option out."
        )
    cls = type(network)
    names = {"n_members", *inspect.signature(cls.network_function).parameters}
    saved = network_kind(cls)
    if args.network not in (None, saved):
        raise ValueError(
            f"{option_of(SOURCE)} {path} holds a {saved[0]}-D network, so --network {args.network} "
            "cannot start from it. Leave --network out."
        )
    parameters = network.get_params(deep=False)
    settings = {name: value for name, value in parameters.items() if name in names}
    return cls, settings | {SOURCE: network}

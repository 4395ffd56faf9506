"""The report of an earlier run, built again."""

from skfmri.cli.commands import OK
from skfmri.cli.places import check_file
from skfmri.cli.terminal import make_console
from skfmri.report.directory import REPORT, ResultDirectory, claim_file
from skfmri.samples import NiftiSamples


def run_report(args):
    """Rebuild the report of an earlier run."""
    check_anatomy(args.anatomy)
    if args.out is not None:
        check_file(args.out, overwrite=args.overwrite)
        path = build_report(args.results, path=args.out, anatomy=args.anatomy)
    else:
        with ResultDirectory(args.results) as directory:
            claim_file(directory.path / REPORT, args.overwrite or REPORT in directory.listed)
            path = build_report(args.results, anatomy=args.anatomy)
            directory.register([REPORT])
    make_console(args.quiet).print(f"Written: {path}", soft_wrap=True)
    return OK


def build_report(directory, **options):
    """Write a report, or raise ValueError if Matplotlib is not installed."""
    try:
        from skfmri.report.page import write_report
    except ImportError as error:
        raise ValueError(str(error)) from error
    return write_report(directory, **options)


def check_anatomy(path):
    """Raise ValueError unless an anatomy is one volume, before hours of work."""
    n_volumes = 1 if path is None else len(NiftiSamples(path))
    if n_volumes != 1:
        raise ValueError(f"--anatomy needs one volume, but {path} has {n_volumes}.")

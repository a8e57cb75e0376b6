"""To Kaggle and back: `python -m kaggle_metadata owner | check | stage | push | submit`.

Nothing is sent unless the check is green. Exit code 0: good; 1: something is wrong (one line on stderr);
2: wrong usage.
"""

import argparse
import shlex
import sys
import warnings
from pathlib import Path

from kit.io.files import InputError, quote_some
from kit.io.locate import SLUG

from . import metadata
from .notebook import as_sent, changes

SETTINGS = "www.kaggle.com/settings"
POLL, READY, STILL = 20, 1800, 13 * 3600  # seconds; a session lasts 12 hours at most


def owner(args):
    file = metadata.set_owner(args.name)
    print(f"{args.name} owns the kernels and {metadata.DATASET}; kept in {file}, which git ignores")


def check(args):
    kernels = _checked(args)
    name, origin = metadata.find_owner()
    print(f"{len(kernels)} kernels and {metadata.DATASET} of {name} (from {origin}): good")


def stage(args):
    from .staging import stage_kernel, stage_module

    if args.folder.is_dir() and any(args.folder.iterdir()):
        raise InputError(f"{args.folder} is not empty; give a new folder")
    staged = [stage_kernel(kernel, args.folder) for kernel in _checked(args)]
    print(*staged, stage_module(args.folder), sep="\n")


def push(args):
    from .client import Client
    from .push import follow, send_module
    from .sources import source_faults
    from .staging import version

    kernels, known = _checked(args), metadata.read_kernels()
    dataset = metadata.read_dataset()["id"]
    if args.dry_run:
        print(f"would send kit/ as {dataset}, note `{version()}`, and wait until it is ready")
        for kernel in kernels:
            print(f"would push {_described(kernel, kernels)}")
        if any(kernel.gpu or kernel.data["enable_internet"] for kernel in kernels):
            print(
                f"internet and GPU: only for accounts with a verified phone number, see {SETTINGS}"
            )
    faults, doubts = source_faults(kernels, known, args.outputs, guess=args.dry_run)
    for line in [*doubts, *faults * args.dry_run]:
        print(f"warning: {line}", file=sys.stderr)
    if args.dry_run:
        return
    if faults:
        raise InputError(f"nothing was sent: {'; '.join(faults)}")
    client, waits = Client(), {"poll": args.poll}
    send_module(client, dataset, **waits, patience=args.ready)
    faults = follow(client, kernels, args.outputs, **waits, patience=args.still)
    if faults:
        listed = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise InputError(f"{len(faults)} of {len(kernels)} kernels failed: {listed}")
    place = shlex.quote(str(args.outputs))
    print(f"{len(kernels)} kernels complete; board: python -m kit board {place}")


def submit(args):
    from kit.competition import load_competition
    from kit.submission import check_submission

    from .client import Client

    competition = load_competition(args.data)
    for warning in check_submission(args.file, competition):
        print(f"warning: {warning}")
    print(f"{args.file}: valid, {len(competition.submission_ids)} ids")
    if competition.simulated:
        raise InputError(
            f"{args.file} fits simulated data in {competition.source}, which Kaggle would refuse; put "
            "the competition's files in data/ or give --data"
        )
    message = args.message or f"{args.file.parent.name}/{args.file.name}"
    if args.dry_run:
        print(f"would submit it to {SLUG} with the note `{message}`")
        return
    Client().submit(SLUG, args.file, message)
    print(f"submitted to {SLUG}: {message}")


def _checked(args):
    kernels = metadata.chosen(metadata.read_kernels(), args.notebooks)
    if found := metadata.faults(kernels):
        raise InputError(f"not good to be sent: {quote_some(found, 3)}")
    changed = {}
    for kernel in kernels:
        for change in changes(kernel.notebook):
            changed.setdefault(change, []).append(kernel.notebook.name)
    for change, names in changed.items():
        print(f"in what is sent: {change} {quote_some(names, 12)}")
    return kernels


def _described(kernel, kernels):
    data = kernel.data
    size = len(as_sent(kernel.notebook)) / 1000
    device = data["machine_shape"] if kernel.gpu else "CPU"
    net = "internet" if data["enable_internet"] else "no internet"
    given = [*data["competition_sources"], *data["dataset_sources"], *data["kernel_sources"]]
    after = sorted(name.partition("/")[2] for name in kernel.after(kernels))
    order = f", after {quote_some(after, 9)}" if after else ""
    return (
        f"{kernel.id}: {kernel.notebook.name} ({size:.0f} kB), {device}, {net}, "
        f"given {quote_some(given, 20)}{order}"
    )


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m kaggle_metadata", description="To Kaggle")
    commands = main.add_subparsers(dest="command", required=True)

    one = commands.add_parser(
        "owner", help="set the Kaggle user that kernels and dataset belong to"
    )
    one.add_argument("name")
    one.set_defaults(run=owner)

    one = commands.add_parser("check", help="list what Kaggle would refuse")
    one.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help="such as 03; default: all")
    one.set_defaults(run=check)

    one = commands.add_parser("stage", help="write what would be sent, a folder for each kernel")
    one.add_argument("folder", metavar="DIR", type=Path, help="new folder")
    one.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help="such as 03; default: all")
    one.set_defaults(run=stage)

    one = commands.add_parser("push", help="send the module and the notebooks, fetch their outputs")
    one.add_argument("notebooks", metavar="NOTEBOOK", nargs="*", help="such as 03; default: all")
    one.add_argument("--dry-run", action="store_true", help="show what would be sent")
    one.add_argument("--outputs", metavar="DIR", type=Path, default=Path("outputs/kaggle"))
    one.add_argument("--poll", metavar="S", type=float, default=POLL, help="between questions")
    one.add_argument("--ready", metavar="S", type=float, default=READY, help="for the dataset")
    one.add_argument("--still", metavar="S", type=float, default=STILL, help="with nothing new")
    one.set_defaults(run=push)

    one = commands.add_parser("submit", help="check a submission, then submit it")
    one.add_argument("file", metavar="FILE", type=Path)
    one.add_argument("--data", metavar="DIR", help="competition folder (default: found as usual)")
    one.add_argument("--message", metavar="TEXT", help="note (default: folder and file)")
    one.add_argument("--dry-run", action="store_true", help="show what would be sent")
    one.set_defaults(run=submit)
    return main


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        args.run(args)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was pushed goes on at Kaggle", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

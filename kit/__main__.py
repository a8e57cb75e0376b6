"""The command line: `python -m kit twin | merge | predict | explain | next | check | score | board`.

Exit code 0: good; 1: the input is bad (one line on stderr); 2: wrong usage.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .competition import load_competition
from .io.files import InputError, printable, quote_some
from .io.hdf5 import interruptible
from .submission import check_submission, score_submission, write_submission

ADVICE = {
    ImportError: "install it with pip, or run `make env` and .venv/bin/python",
    MemoryError: "not enough memory; is a file corrupt?",
}


def twin(args: argparse.Namespace) -> None:
    from .twin import simulate

    print(simulate(args.folder, size=args.size, seed=args.seed, null=args.null))


def merge(args: argparse.Namespace) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from multiprocessing import get_context

    from .screens import merge

    layouts = {}
    for text in args.layout:
        file, _, layout = text.rpartition("=")
        layouts |= dict.fromkeys([file] if file else args.files, layout)
    # Threads of HDF5 and numba do not survive a fork.
    several = args.workers > 1
    pool = ProcessPoolExecutor(args.workers, get_context("spawn")) if several else nullcontext()
    with pool as executor:
        merged = merge(
            args.files,
            load_competition(args.data),
            args.out,
            layouts=layouts,
            names=args.hgnc,
            min_cells=args.min_cells,
            budget=args.budget_mb * 10**6,
            executor=executor,
            cells=not args.no_cells,
        )
    print(merged.coverage.T.to_string())
    for remark in merged.remarks:
        print(printable(remark))
    print(*filter(None, (merged.responses, merged.cells)), sep="\n")


def _read(args):
    """The competition and the knowledge that a command names."""
    from .knowledge import gather

    competition = load_competition(args.data)
    return competition, gather(competition, pathways=args.pathways, atlas=args.atlas)


def predict(args: argparse.Namespace) -> None:
    from .forecast.intervals import target_intervals, write_intervals
    from .forecast.predict import baseline_forecast, forecast

    if Path(args.out).is_dir():
        raise InputError(f"{args.out} is a folder; give the path of a file to write")
    competition, knowledge = _read(args)
    written = []
    if args.uncertainty:
        ends, remark = target_intervals(competition, knowledge, args.level, seed=args.seed)
    if args.baseline:
        found = baseline_forecast(competition, args.baseline, seed=args.seed)
    else:
        found = forecast(competition, knowledge, seed=args.seed, minutes=args.minutes)
    if args.uncertainty:
        where = write_intervals(ends, found.prediction, competition, args.uncertainty)
        written = [remark, where]
    path = write_submission(found.prediction, competition, args.out)
    print(*knowledge.remarks, *found.remarks, *written, path, sep="\n")


def explain(args: argparse.Namespace) -> None:
    from .forecast.explanation import explain, refit_without
    from .forecast.explanation_text import as_record, as_text, gene_as_text

    names, gene = [args.perturbation], args.gene
    if args.target:
        names, gene = args.target, args.perturbation
        print("warning: --target is deprecated; want PERTURBATION --gene GENE", file=sys.stderr)
    competition, knowledge = _read(args)
    found = [explain(competition, name, knowledge, seed=args.seed) for name in names]
    refit = args.refit and not gene
    refits = [refit_without(one, knowledge, seed=args.seed) if refit else None for one in found]
    both = list(zip(found, refits, strict=True))
    if args.json:
        genes = [gene] if gene else ()
        print(json.dumps([as_record(one, refit, genes) for one, refit in both]))
        return
    print(*knowledge.remarks, sep="\n")
    for one, refit in both:
        print("", gene_as_text(one, gene) if gene else as_text(one, refit), sep="\n")


def propose(args: argparse.Namespace) -> None:
    from .forecast.next_perturbations import propose, read_words
    from .knowledge import gather

    competition = load_competition(args.data)
    pathways = gather(competition, pathways=args.pathways).pathways
    if pathways is None:
        raise InputError("proposals rest on pathways; give --pathways FILE...")
    among = None if args.among is None else read_words(args.among)
    table = propose(competition, pathways, args.number, candidates=among)
    shares = dict.fromkeys(("gain", "left"), "{:.2%}".format)
    print(table.to_string(formatters=shares))


def check(args: argparse.Namespace) -> None:
    competition = load_competition(args.data)
    for warning in check_submission(args.file, competition):
        print(f"warning: {warning}")
    genes = competition.effects.shape[1]
    print(f"{args.file}: valid, {len(competition.submission_ids)} ids x {genes} genes")


def score(args: argparse.Namespace) -> None:
    result, left_out = score_submission(args.file, args.solution, gate=args.gate)
    if left_out:
        print(f"left out, not in the solution: {quote_some(left_out)}", file=sys.stderr)
    if args.json:
        keys = ("score", "w", "wcos", "rows", "score_per_60")
        print(json.dumps({key: getattr(result, key) for key in keys}))
    else:
        print(result)


def board(args: argparse.Namespace) -> None:
    from .report.board import board_text, released
    from .report.page import write_page

    print(board_text(args.folder))
    truth = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the board says itself what is simulated
            truth = released(args.folder, load_competition(args.data))
    except InputError:
        if args.data:
            raise
    if truth is not None and len(truth):
        print("\nAgainst released truth, for 60 rows (public: val, private: test):")
        print(truth.to_string(float_format="{:.2f}".format, na_rep=""))
    print(write_page(args.folder, truth))


def between(kind: type, least: float, most: float = 2**31 - 1) -> Callable:
    """Return the reader of a number of the command line; some libraries refuse seeds beyond `most`."""

    def number(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is out of range, want {least} to {most}")
        return value

    return number


whole, positive = between(int, 0), between(int, 1)
FOUND = "(default: found as usual)"
READ = ("--data", "--pathways", "--atlas")  # the competition and the knowledge
SHARED = {
    "--data": {"metavar": "DIR", "help": f"competition folder {FOUND}"},
    "--pathways": {"metavar": "FILE", "nargs": "+", "default": [], "help": f"GMT or edges {FOUND}"},
    "--atlas": {"metavar": "FILE", "help": f"responses.h5ad of other screens {FOUND}"},
    "--seed": {"type": whole, "default": 0, "help": "of all random choices"},
    "--json": {"action": "store_true", "help": "print JSON"},
}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows defaults, where there are any."""

    def _get_help_string(self, action):
        hidden = action.default is None or action.default == [] or action.const is True
        return action.help if hidden else super()._get_help_string(action)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command sets `run` to its function."""
    prog = "kit" if Path(sys.argv[0]).stem == "kit" else "python -m kit"
    main = argparse.ArgumentParser(prog=prog, description="Competition kit")
    main.add_argument("--version", action="version", version=f"kit {__version__}")
    commands = main.add_subparsers(dest="command", required=True)

    def command(run, text, *shared, name=None):
        name = name or run.__name__
        one = commands.add_parser(name, help=text, description=text, formatter_class=_Help)
        one.set_defaults(run=run)
        for option in shared:
            one.add_argument(option, **SHARED[option])
        return one.add_argument

    add = command(twin, "simulate a competition folder")
    add("folder", metavar="DIR", help="folder to write")
    add("--size", choices=("quick", "full"), default="quick", help="of the competition")
    add("--seed", type=whole, default=0, help="of the simulation")
    add("--null", action="store_true", help="shuffle all knowledge")

    add = command(merge, "merge screens into cells.h5ad and responses.h5ad", "--data")
    add("files", metavar="FILE", nargs="*", help="h5ad files of screens")
    add("--out", metavar="DIR", required=True, help="folder to write")
    text = "meaning of the columns, of all files or of one: a known layout or a JSON file"
    add("--layout", metavar="[FILE=]LAYOUT", action="append", default=[], help=text)
    add("--hgnc", metavar="FILE", help=f"HGNC's table of gene names {FOUND}")
    text = "least number of cells of a perturbation"
    add("--min-cells", metavar="N", type=positive, default=10, help=text)
    add("--budget-mb", metavar="N", type=positive, default=1000, help="memory for counts")
    add("--workers", metavar="N", type=positive, default=1, help="processes")
    add("--no-cells", action="store_true", help="write responses only")

    add = command(predict, "train the best blend and write a submission", *READ, "--seed")
    text = "blend in whatever else, networks too, can be fitted within M minutes"
    add("--minutes", metavar="M", type=between(float, 0.01), help=text)
    text = "write the mean training effect, or the best constant, instead of the forecast"
    add("--baseline", choices=("mean", "constant"), help=text)
    add("--out", metavar="FILE", required=True, help="CSV to write")
    text = "CSV of intervals beside each prediction (.csv.gz: smaller)"
    add("--uncertainty", metavar="FILE", help=text)
    add("--level", metavar="SHARE", type=float, default=0.9, help="of effects inside intervals")

    text = "explain a prediction: training perturbations, pathways and screens"
    add = command(explain, text, *READ, "--seed", "--json")
    add("perturbation", metavar="PERTURBATION", help="perturbation to explain")
    add("--gene", metavar="GENE", help="explain the effect on this gene only")
    text = "deprecated: explains the effects of these on the gene PERTURBATION"
    add("--target", metavar="PERTURBATION", nargs="+", help=text)
    text = "refit without each source, and without each main training perturbation"
    add("--refit", action="store_true", help=text)

    text = "name the most informative perturbations to measure"
    add = command(propose, text, "--data", "--pathways", name="next")
    add("number", metavar="N", nargs="?", type=positive, default=20, help="of perturbations")
    text = "text file of candidate symbols (default: expressed genes)"
    add("--among", metavar="FILE", help=text)

    add = command(check, "check a submission as the host does", "--data")
    add("file", metavar="FILE", help="submission")

    add = command(score, "score a submission against a solution", "--json")
    add("file", metavar="FILE", help="submission")
    add("--solution", metavar="FILE", required=True, help="released truth")
    add("--gate", type=float, default=0.2, help="of Wcos: 0.2 in the host's code, 0.3 on its page")

    add = command(board, "print the board of saved runs and write its page", "--data")
    add("folder", metavar="DIR", nargs="?", default="outputs", help="folder of saved runs")
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    args = parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(message)}\n"
    try:
        with interruptible():
            args.run(args)
            sys.stdout.flush()
    except (InputError, ImportError, MemoryError, OSError) as error:
        closed = isinstance(error, BrokenPipeError)  # as by `head`, which has seen enough
        if not closed:
            advice = [text for kind, text in ADVICE.items() if isinstance(error, kind)]
            print("error:", "; ".join(filter(None, [printable(error), *advice])), file=sys.stderr)
        if isinstance(error, OSError) and sys.stdout is sys.__stdout__:
            # What is left to print has no place to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141 if closed else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def console() -> int:
    """Run the command that this process was started with; return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # names may hold signs that a terminal cannot show
        stream.reconfigure(errors="backslashreplace")
    return main()


if __name__ == "__main__":
    sys.exit(console())

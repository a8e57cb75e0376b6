"""The command line: `python -m kit twin | check | score | board`.

Exit code 0: good; 1: the input is bad (one line on stderr); 2: wrong usage.
"""

import argparse
import json
import sys
import warnings

from .files import InputError


def twin(args):
    from .twin import simulate

    print(simulate(args.folder, size=args.size, seed=args.seed, null=args.null))


def check(args):
    from .competition import load_competition
    from .submission import check_submission

    competition = load_competition(args.data)
    for warning in check_submission(args.file, competition):
        print(f"warning: {warning}")
    genes = competition.effects.shape[1]
    print(f"{args.file}: valid, {len(competition.submission_ids)} ids x {genes} genes")


def score(args):
    from .submission import score_submission

    result, left_out = score_submission(args.file, args.solution, gate=args.gate)
    if left_out:
        print(f"left out, not in the solution: {', '.join(left_out)}", file=sys.stderr)
    if args.json:
        keys = ("score", "w", "wcos", "rows", "score_per_60")
        print(json.dumps({key: getattr(result, key) for key in keys}))
    else:
        print(result)


def board(args):
    from .board import board_text

    print(board_text(args.folder))


def parser():
    main = argparse.ArgumentParser(prog="python -m kit", description="Competition kit")
    commands = main.add_subparsers(dest="command", required=True)

    one = commands.add_parser("twin", help="simulate a competition folder")
    one.add_argument("folder", metavar="DIR")
    one.add_argument("--size", choices=("quick", "full"), default="quick")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--null", action="store_true", help="shuffle all knowledge")
    one.set_defaults(run=twin)

    one = commands.add_parser("check", help="check a submission as the host does")
    one.add_argument("file", metavar="FILE")
    one.add_argument("--data", metavar="DIR", help="competition folder (default: found as usual)")
    one.set_defaults(run=check)

    one = commands.add_parser("score", help="score a submission against a solution")
    one.add_argument("file", metavar="FILE")
    one.add_argument("--solution", metavar="FILE", required=True)
    one.add_argument(
        "--gate", type=float, default=0.2, help="0.2 as the host's code, 0.3 as its page"
    )
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=score)

    one = commands.add_parser("board", help="print the board of saved runs")
    one.add_argument("folder", metavar="DIR", nargs="?", default="outputs")
    one.set_defaults(run=board)
    return main


def main(argv=None):
    args = parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

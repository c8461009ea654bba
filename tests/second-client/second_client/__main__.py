"""`python3 -m second_client check crypto/vectors` and `python3 -m second_client run --dir SITE_FOLDER`."""

import argparse
import sys

from .check import check_all
from .member import Member


def main():
    parser = argparse.ArgumentParser(prog="second_client", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check this implementation against the vectors")
    check.add_argument("vectors")
    run = commands.add_parser("run", help="take part in jobs, with known updates")
    run.add_argument("--dir", required=True, help="the folder of an enrolled site")
    run.add_argument("--part", type=int, default=1000, help="bytes of one part of an upload")
    run.add_argument("--until-finished", action="store_true", help="end with the first job")
    given = parser.parse_args()
    if given.command == "check":
        for name, (met, refused) in check_all(given.vectors).items():
            print(f"{name}: {met} met, {refused} refused")
        return 0
    return 0 if Member(given.dir, given.part).work(given.until_finished) else 1


if __name__ == "__main__":
    sys.exit(main())

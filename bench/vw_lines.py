"""Criteo's and Avazu's logs as lines of Vowpal Wabbit.

    python3 bench/vw_lines.py criteo train.tsv >criteo.vw
    python3 bench/vw_lines.py avazu train.csv >avazu.vw

Every column is one feature, its name and its value; missing ones are left out. Criteo's integers are
put into the usual bins: the squared logarithm, rounded down. Avazu's id is left out.
"""

import math
import sys

LABELS = {"0": "-1", "1": "1"}


def criteo(lines):
    for line in lines:
        label, *values = line.rstrip("\n").split("\t")
        features = [
            f"{'i' if column < 13 else 'c'}{column}_{binned(value) if column < 13 else value}"
            for column, value in enumerate(values)
            if value
        ]
        yield label, features


def binned(value):
    number = int(value)
    return f"s{int(math.log(number) ** 2)}" if number > 1 else value


def avazu(lines):
    _, _, *names = next(lines).rstrip("\n").split(",")
    for line in lines:
        _, label, *values = line.rstrip("\n").split(",")
        yield label, [f"{name}_{value}" for name, value in zip(names, values) if value]


def main():
    formats = {"criteo": criteo, "avazu": avazu}
    if len(sys.argv) != 3 or sys.argv[1] not in formats:
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as lines:
        for label, features in formats[sys.argv[1]](lines):
            sys.stdout.write(f"{LABELS[label]} |f {' '.join(features)}\n")


if __name__ == "__main__":
    main()

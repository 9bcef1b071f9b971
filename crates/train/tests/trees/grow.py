"""Grows trees by LightGBM's Python package: the peer of those that Reckon grows.

    python grow.py FOLDER TREES CATEGORICAL PARAMETER=VALUE ...

FOLDER has rows.f32 (row by row), labels.f32 and weights.f32. CATEGORICAL are the columns that hold codes, by commas, or a
dash. The model's text goes to stdout, the seconds that bins and trees took to stderr.
"""

import pathlib
import sys
import time

import lightgbm
import numpy

folder, trees, categorical, *parameters = sys.argv[1:]
folder = pathlib.Path(folder)
labels = numpy.fromfile(folder / "labels.f32", dtype=numpy.float32)
weights = numpy.fromfile(folder / "weights.f32", dtype=numpy.float32)
rows = numpy.fromfile(folder / "rows.f32", dtype=numpy.float32).reshape(len(labels), -1)
options = dict(parameter.split("=", 1) for parameter in parameters)
options.pop("categorical_feature", None)
columns = [] if categorical == "-" else [int(column) for column in categorical.split(",")]
begin = time.monotonic()
data = lightgbm.Dataset(rows, labels, weight=weights, categorical_feature=columns, params=options).construct()
binned = time.monotonic()
booster = lightgbm.train(options, data, num_boost_round=int(trees))
print(f"bins {binned - begin:.2f} s, trees {time.monotonic() - binned:.2f} s", file=sys.stderr)
print(booster.model_to_string(), end="")

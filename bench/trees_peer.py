"""Makes the models and rows of bench/trees.sh, and measures its peers on them, in one thread.

    python trees_peer.py make FOLDER        models of LightGBM and 200 rows of 150 columns
    python trees_peer.py measure MODEL ROWS

LightGBM is called through its C API with everything prepared, as a server would; lleaves compiles each model first and
is called through its Python class. The middle of many windows, each of which scores all rows; the sum of all
raw scores says whether they computed the same.
"""

import ctypes
import pathlib
import sys
import time

import lightgbm
import numpy

COLUMNS = 150
ROWS = 200
WINDOWS = 101
SHAPES = [(100, 31), (500, 31), (500, 63)] + [(20, leaves) for leaves in (31, 63, 64, 65, 255, 450)]


def make(folder):
    random = numpy.random.default_rng(1)
    rows = random.normal(size=(6000, COLUMNS)).astype(numpy.float32)
    label = (rows[:, :20].sum(1) + random.normal(size=len(rows)) * 3 > 0).astype(float)
    odd = rows.copy()
    odd[random.random(rows.shape) < 0.1] = numpy.nan
    odd[:, 149] = random.integers(0, 200, len(rows))
    rows[:ROWS].tofile(folder / "rows.f32")
    odd[:ROWS].tofile(folder / "odd.f32")
    for trees, leaves in SHAPES:
        options = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 2, "learning_rate": 0.02,
                   "max_bin": 63, "num_threads": 1, "verbose": -1}
        # The small ones have missing values and categories; they are there to show what a node costs.
        data = lightgbm.Dataset(odd, label, categorical_feature=[149]) if trees == 20 else lightgbm.Dataset(rows, label)
        booster = lightgbm.train(options, data, trees)
        booster.save_model(folder / f"{trees}x{leaves}.txt")


def middle(work):
    times = []
    for _ in range(WINDOWS):
        began = time.perf_counter_ns()
        work()
        times.append((time.perf_counter_ns() - began) / ROWS)
    return sorted(times)[WINDOWS // 2]


def measure_lightgbm(model, rows):
    booster = lightgbm.Booster(model_file=model)
    library = lightgbm.basic._LIB
    out = numpy.zeros(len(rows))
    length = ctypes.c_int64(0)
    arguments = (
        booster._handle, rows.ctypes.data_as(ctypes.c_void_p), ctypes.c_int(0), ctypes.c_int32(ROWS),
        ctypes.c_int32(COLUMNS), ctypes.c_int(1), ctypes.c_int(1), ctypes.c_int(0), ctypes.c_int(-1),
        ctypes.c_char_p(b"num_threads=1"), ctypes.byref(length), out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    )

    def work():
        if library.LGBM_BoosterPredictForMat(*arguments):
            raise SystemExit(library.LGBM_GetLastError())

    print(f"lightgbm {model} ns_per_row {middle(work):.1f} sum {out.sum():.9f}")


def measure_lleaves(model, rows):
    import lleaves

    compiled = lleaves.Model(model_file=model)
    began = time.perf_counter()
    compiled.compile(raw_score=True)
    took = time.perf_counter() - began
    wide = rows.astype(numpy.float64)
    out = compiled.predict(wide, n_jobs=1)
    figure = middle(lambda: compiled.predict(wide, n_jobs=1))
    print(f"lleaves {model} ns_per_row {figure:.1f} sum {out.sum():.9f} compiled_s {took:.1f}")


if sys.argv[1] == "make":
    make(pathlib.Path(sys.argv[2]))
else:
    table = numpy.fromfile(sys.argv[3], numpy.float32).reshape(ROWS, COLUMNS)
    measure_lightgbm(sys.argv[2], table)
    measure_lleaves(sys.argv[2], table)

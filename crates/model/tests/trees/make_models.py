"""Makes models of LightGBM, rows, and LightGBM's own raw scores and predictions of them.

    python make_models.py FOLDER SEED COUNT     as many random models
    python make_models.py FOLDER frozen         the frozen ones of this folder

Each model is three files: NAME.txt, NAME.rows.csv and NAME.scores.csv (raw score, prediction). Rows are f32; the
scores are those of the same rows made f64. A random forest's raw score is a sum; it is divided here.
"""

import pathlib
import sys

import lightgbm
import numpy

COLUMNS = 8


def made_rows(random, count, wild):
    rows = random.normal(0, 2, (count, COLUMNS)).astype(numpy.float32)
    rows[:, 1] = numpy.round(rows[:, 1])
    rows[random.random(rows.shape) < 0.15] = 0.0
    rows[:, 6] = random.integers(0, 300, count)
    rows[:, 7] = random.integers(0, 9, count)
    rows[:, 2][random.random(count) < 0.2] = numpy.nan
    rows[:, 3][random.random(count) < 0.2] = numpy.nan
    rows[:, 6][random.random(count) < 0.1] = numpy.nan
    if wild:
        odd = numpy.array(
            [numpy.nan, numpy.inf, -numpy.inf, 0.0, -0.0, 1e-35, -1e-35, 1e-36, 2e-35, -2e-35, 1e-45, 3.4e38, -3.4e38],
            dtype=numpy.float32,
        )
        places = random.random(rows.shape) < 0.12
        rows[places] = random.choice(odd, places.sum())
        categories = numpy.array(
            [-1, -0.5, -0.99, -7, 1.5, 31, 32, 63, 64, 299, 300, 1e6, 2147483520, 2147483648, 1e10, -1e10],
            dtype=numpy.float32,
        )
        for column in (6, 7):
            places = random.random(count) < 0.2
            rows[places, column] = random.choice(categories, places.sum())
    return rows


def trained(random, options, trees, rows_count):
    rows = made_rows(random, rows_count, wild=False)
    filled = numpy.nan_to_num(rows.astype(numpy.float64))
    truth = numpy.sin(filled[:, 0] * 3) + filled[:, 1] * 0.3 + numpy.isnan(rows[:, 2]) - (filled[:, 3] == 0)
    truth += ((filled[:, 6].astype(int) * 37) % 11 < 4) * 1.5 + (filled[:, 7] % 3 == 1)
    truth += random.normal(0, 0.5, rows_count)
    objective = options["objective"]
    if objective == "binary":
        label = (truth > truth.mean()).astype(float)
    elif objective == "cross_entropy":
        label = 1 / (1 + numpy.exp(-truth))
    elif objective == "lambdarank":
        label = numpy.clip(numpy.round(truth), 0, 4)
    elif objective in ("poisson", "tweedie"):
        label = numpy.round(numpy.exp(numpy.clip(truth, -2, 2)))
    else:
        label = truth
    fixed = {"verbose": -1, "num_threads": 1, "deterministic": True, "seed": 7}
    group = [50] * (rows_count // 50) if objective == "lambdarank" else None
    data = lightgbm.Dataset(
        rows.astype(numpy.float64), label, group=group, categorical_feature=options.pop("categories", [6, 7]),
        params={"verbose": -1},
    )
    return lightgbm.train({**fixed, **options}, data, trees)


def save(folder, name, booster, rows):
    wide = rows.astype(numpy.float64)
    raw = booster.predict(wide, raw_score=True, num_threads=1)
    said = booster.predict(wide, num_threads=1)
    text = booster.model_to_string()
    if "\naverage_output\n" in text:
        raw = raw / booster.num_trees()
    # Parameters are not read, and would be half of a small file.
    text = text[: text.index("\nparameters:")] + "\n"
    (folder / f"{name}.txt").write_text(text)
    numpy.savetxt(folder / f"{name}.rows.csv", rows, fmt="%.9g", delimiter=",")
    numpy.savetxt(folder / f"{name}.scores.csv", numpy.stack([raw, said], 1), fmt="%.17g", delimiter=",")


FROZEN = {
    "binary": ({"objective": "binary", "num_leaves": 31, "sigmoid": 0.7}, 6),
    "zero_missing": ({"objective": "binary", "num_leaves": 12, "zero_as_missing": True}, 6),
    "none_missing": ({"objective": "regression", "num_leaves": 9, "use_missing": False}, 6),
    "categories": ({"objective": "binary", "num_leaves": 16, "max_cat_threshold": 200, "cat_smooth": 1, "min_data_per_group": 1,
                    "max_cat_to_onehot": 1}, 6),
    "forest": ({"objective": "binary", "boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1, "num_leaves": 20}, 6),
    "stumps": ({"objective": "regression", "num_leaves": 2}, 4),
    "constant": ({"objective": "binary", "num_leaves": 8, "min_data_in_leaf": 100000}, 3),
    "cross_entropy": ({"objective": "cross_entropy", "num_leaves": 33}, 3),
    "poisson": ({"objective": "poisson", "num_leaves": 7}, 4),
    "ranking": ({"objective": "lambdarank", "num_leaves": 15}, 4),
    **{f"leaves_{n}": ({"objective": "regression", "num_leaves": n, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0}, 1)
       for n in (32, 63, 64, 65, 255, 450)},
}


def frozen(folder):
    for place, (name, (options, trees)) in enumerate(FROZEN.items()):
        random = numpy.random.default_rng(place)
        booster = trained(random, dict(options), trees, 2000)
        save(folder, name, booster, made_rows(random, 60, wild=True))


def random_models(folder, seed, count):
    for place in range(count):
        random = numpy.random.default_rng([seed, place])
        objective = random.choice(["binary", "cross_entropy", "regression", "lambdarank", "poisson"])
        options = {
            "objective": str(objective),
            "num_leaves": int(random.choice([2, 3, 17, 31, 32, 33, 63, 64, 65, 127, 255, 450])),
            "min_data_in_leaf": int(random.choice([1, 5, 20])),
            "use_missing": bool(random.random() < 0.8),
            "zero_as_missing": bool(random.random() < 0.3),
            "learning_rate": float(random.choice([0.05, 0.3])),
            "max_bin": int(random.choice([15, 255])),
            "max_cat_threshold": int(random.choice([8, 200])),
            "max_cat_to_onehot": int(random.choice([1, 4, 16])),
            "min_data_per_group": int(random.choice([1, 50])),
            "categories": [[6, 7], [7], []][int(random.integers(0, 3))],
        }
        if objective == "binary":
            options["sigmoid"] = float(random.choice([1.0, 0.3, 2.5]))
        if objective in ("binary", "regression") and random.random() < 0.3:
            options.update({"boosting": "rf", "bagging_fraction": 0.7, "bagging_freq": 1})
        elif random.random() < 0.2:
            options["boosting"] = "dart"
        booster = trained(random, options, int(random.integers(1, 40)), int(random.choice([200, 3000])))
        save(folder, f"model_{place}", booster, made_rows(random, 300, wild=True))
    print(f"lightgbm {lightgbm.__version__}")


if __name__ == "__main__":
    into = pathlib.Path(sys.argv[1])
    if sys.argv[2] == "frozen":
        frozen(into)
    else:
        random_models(into, int(sys.argv[2]), int(sys.argv[3]))

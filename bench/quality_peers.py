"""The peers of bench/quality.sh: each learns the rows that the example `quality` of reckon-train has split.

    python quality_peers.py lightgbm FOLDER SEEDS
    python quality_peers.py vw FOLDER SEEDS
    python quality_peers.py torch-dcn FOLDER SEEDS

All need numpy. Vowpal Wabbit is called as a module of VW_PYTHON, which is this Python if it is not set.
FOLDER holds a folder a set; crates/train/examples/quality/sets.rs draws its files. A peer learns from part 0, stops and
chooses its options by part 1 (with the first seed), and writes log odds of parts 1 and 2 for each seed. The labels of
part 2 are not in the files. What there is to choose from stands in OPTIONS below, beside each peer; one thread each.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

SETS = ("criteo", "avazu", "mind", "trivago")
BUCKETS = 32


class Set:
    """The rows of one log."""

    def __init__(self, folder):
        self.folder = folder
        about = json.loads((folder / "about.json").read_text())
        self.columns, self.fields, self.codes_max = about["columns"], about["fields"], about["codes"]
        rows = about["rows"]
        self.numeric = self.read("numeric.f32", "<f4").reshape(rows, len(self.columns))
        self.codes = self.read("codes.u32", "<u4").reshape(rows, len(self.fields)).astype(numpy.int64)
        self.labels = self.read("labels.u8", "u1")
        self.weights = self.read("weights.f32", "<f4")
        parts = self.read("parts.u8", "u1")
        self.train, self.validation, self.test = (numpy.flatnonzero(parts == part) for part in range(3))

    def read(self, name, kind):
        return numpy.fromfile(self.folder / name, kind)

    def shuffled(self, seed):
        return numpy.random.default_rng(seed).permutation(self.train)

    def buckets(self):
        """Each number as the number of its bucket from 1 on, with equally many training rows each; 0 is missing."""
        found = numpy.zeros(self.numeric.shape, numpy.int64)
        for column, values in enumerate(self.numeric.T):
            known = values[self.train]
            known = known[numpy.isfinite(known)]
            if known.size:
                edges = numpy.unique(numpy.quantile(known, numpy.arange(1, BUCKETS) / BUCKETS))
                found[:, column] = 1 + numpy.searchsorted(edges, values, side="right")
                found[numpy.isnan(values), column] = 0
        return found

    def loss(self, logits):
        """The log loss of the validation rows."""
        labels, weights = self.labels[self.validation], self.weights[self.validation]
        signed = numpy.where(labels == 1, -logits, logits).astype(numpy.float64)
        return float(numpy.average(numpy.logaddexp(0, signed), weights=weights))

    def answer(self, peer, seed, validation, test):
        for part, logits in (("validation", validation), ("test", test)):
            numpy.asarray(logits, "<f4").tofile(self.folder / "answers" / f"{peer}.{seed}.{part}")


class LightGBM:
    """Rounds by early stopping. Categories as LightGBM's own, or (no_categories) none: rates of them are columns."""

    usual = {
        "objective": "binary",
        "learning_rate": 0.05,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_threads": 1,
        "verbosity": -1,
    }
    OPTIONS = {
        "31 leaves": {"num_leaves": 31},
        "15 leaves, held": {"num_leaves": 15, "min_data_in_leaf": 50, "lambda_l2": 5, "cat_smooth": 50, "cat_l2": 50},
        "63 leaves, held": {"num_leaves": 63, "min_data_in_leaf": 100, "lambda_l2": 5, "cat_smooth": 50, "cat_l2": 50},
        "31 leaves, no categories": {"num_leaves": 31, "min_data_in_leaf": 50, "no_categories": True},
        "7 leaves, no categories": {"num_leaves": 7, "min_data_in_leaf": 50, "lambda_l2": 5, "no_categories": True},
    }

    def __init__(self, rows):
        self.rows = rows
        codes = rows.codes.astype(numpy.float64)
        codes[rows.codes == 0] = numpy.nan
        self.all = numpy.hstack([rows.numeric.astype(numpy.float64), codes])

    def fit(self, options, seed):
        import lightgbm

        rows, options = self.rows, {**self.usual, **options, "seed": seed}
        width = len(rows.columns)
        if options.pop("no_categories", False):
            table, categories = self.all[:, :width], []
        else:
            table, categories = self.all, list(range(width, self.all.shape[1]))

        def part(places):
            return lightgbm.Dataset(
                table[places], rows.labels[places], weight=rows.weights[places], categorical_feature=categories,
                free_raw_data=False,
            )

        train = part(rows.train)
        validation = train.create_valid(
            table[rows.validation], rows.labels[rows.validation], weight=rows.weights[rows.validation]
        )
        stop = lightgbm.early_stopping(50, verbose=False)
        model = lightgbm.train(options, train, 3000, valid_sets=[validation], callbacks=[stop])
        rounds = model.best_iteration
        answers = [model.predict(table[places], raw_score=True, num_iteration=rounds)
                   for places in (rows.validation, rows.test)]
        return answers, f"{rounds} rounds"


class VowpalWabbit:
    """Numbers as they are or as buckets; adaptive steps or FTRL; passes; pairs or not. Seeds shuffle the rows."""

    FTRL = ["--ftrl", "--ftrl_alpha", "0.01", "--ftrl_beta", "1"]
    OPTIONS = {
        "numbers, 3 passes, -l 0.1": ("numbers", 3, ["-l", "0.1"]),
        "buckets, 1 pass": ("buckets", 1, []),
        "buckets, 4 passes, -l 0.1": ("buckets", 4, ["-l", "0.1"]),
        "buckets, 6 passes, -l 0.03": ("buckets", 6, ["-l", "0.03"]),
        "buckets, 6 passes, -l 0.1, l2": ("buckets", 6, ["-l", "0.1", "--l2", "1e-5"]),
        "buckets, ftrl, 3 passes": ("buckets", 3, FTRL),
        "buckets, ftrl, 3 passes, l1": ("buckets", 3, [*FTRL, "--l1", "0.3"]),
        "buckets, pairs of categories, 2 passes, -l 0.05": ("buckets", 2, ["-q", "cc", "-l", "0.05"]),
        "buckets, all pairs, 2 passes, -l 0.02": ("buckets", 2, ["-q", "cc", "-q", "nn", "-q", "cn", "-l", "0.02"]),
    }

    def __init__(self, rows):
        self.rows = rows
        self.work = tempfile.TemporaryDirectory(dir=rows.folder)
        self.lines = {"numbers": self.texts(self.numbers()), "buckets": self.texts(self.flags())}

    def numbers(self):
        for row in self.rows.numeric:
            yield " ".join(f"{column}:{value:.6g}" for column, value in enumerate(row.tolist()) if math.isfinite(value))

    def flags(self):
        for row in self.rows.buckets():
            yield " ".join(f"{column}_{bucket}" for column, bucket in enumerate(row.tolist()))

    def texts(self, numbers):
        rows = self.rows
        found, others = [], (rows.codes.tolist(), rows.labels.tolist(), rows.weights.tolist())
        for text, codes, label, weight in zip(numbers, *others):
            label = {0: "-1", 1: "1", 255: ""}[label]
            flags = " ".join(f"{field}_{code}" for field, code in enumerate(codes) if code)
            found.append(f"{label}{f' {weight:g}' if label else ''} |n {text} |c {flags}\n")
        return found

    def call(self, *arguments):
        python = os.environ.get("VW_PYTHON", sys.executable)
        command = [python, "-m", "vowpalwabbit", "--quiet", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def write(self, name, lines, places):
        path = os.path.join(self.work.name, name)
        with open(path, "w", encoding="ascii") as out:
            out.writelines(lines[place] for place in places)
        return path

    def fit(self, options, seed):
        kind, passes, extra = options
        lines, model = self.lines[kind], os.path.join(self.work.name, "model")
        train = self.write("train", lines, self.rows.shuffled(seed))
        self.call(
            *("--loss_function", "logistic", "-b", "22", "--random_seed", str(seed), "--passes", str(passes)),
            *("--holdout_off", "-k", "--cache_file", f"{train}.cache", "-d", train, "-f", model, *extra),
        )
        answers = []
        for places in (self.rows.validation, self.rows.test):
            asked, told = self.write("asked", lines, places), os.path.join(self.work.name, "told")
            self.call("-t", "-i", model, "-d", asked, "-r", told)
            with open(told, encoding="ascii") as scores:
                answers.append(numpy.array([float(line.split()[0].split(":")[-1]) for line in scores]))
        return answers, f"{passes} passes"


class TorchDCN:
    """DCN-v2 as FuxiCTR has it: parallel, embeddings of 16, dense Adam, rare ones of a field as one.

    Patience is 3 epochs, with many rows 2. Cross layers are of full rank up to 256 inputs and of rank 64 beyond.
    Numbers are normalised inputs, or buckets with embeddings, as the BARS benchmark has them. `pull` is the weight
    decay of embeddings; categories that fewer than `rare` training rows have are one.
    """

    OPTIONS = {
        "numbers": {"buckets": False, "dropout": 0.1, "pull": 1e-5, "rate": 1e-3, "rare": 3},
        "numbers, held": {"buckets": False, "dropout": 0.3, "pull": 1e-3, "rate": 5e-4, "rare": 3},
        "numbers, held, fewer keys": {"buckets": False, "dropout": 0.3, "pull": 1e-3, "rate": 5e-4, "rare": 20},
        "buckets, held, fewer keys": {"buckets": True, "dropout": 0.3, "pull": 1e-3, "rate": 5e-4, "rare": 20},
    }
    MANY_ROWS = 50_000
    EMBEDDING, HIDDEN, CROSS, RANK, EPOCHS = 16, (256, 256), 3, 64, 30

    def __init__(self, rows):
        import torch

        torch.set_num_threads(1)
        self.torch, self.rows = torch, rows
        is_large = len(rows.train) >= self.MANY_ROWS
        self.batch, self.patience = (2048, 2) if is_large else (256, 3)
        self.numbers = torch.from_numpy(self.normal())
        self.buckets, sizes = self.frequent(rows.buckets(), [BUCKETS + 2] * len(rows.columns), 1)
        self.bucket_sizes = sizes
        self.labels = torch.from_numpy(rows.labels.astype(numpy.float32))
        self.weights = torch.from_numpy(rows.weights)

    def normal(self):
        """Skewed columns by their logarithm; mean 0 and deviation 1 of the training rows; missing is the mean."""
        numbers = self.rows.numeric.astype(numpy.float64)
        for column, values in enumerate(numbers.T):
            values = numpy.where(numpy.isinf(values), numpy.nan, values)
            known = values[self.rows.train]
            known = known[~numpy.isnan(known)]
            if not known.size:
                numbers[:, column] = 0
                continue
            deviation = known.std()
            if deviation > 0 and abs(((known - known.mean()) ** 3).mean() / deviation**3) > 1:
                values, known = (numpy.sign(some) * numpy.log1p(numpy.abs(some)) for some in (values, known))
            numbers[:, column] = (values - known.mean()) / max(known.std(), 1e-9)
        return numpy.clip(numpy.nan_to_num(numbers), -5, 5).astype(numpy.float32)

    def frequent(self, codes, sizes, least):
        """Codes from 1 of what so many training rows have at least; 0 for all others of a field."""
        found, kept = numpy.zeros_like(codes), []
        for field, size in enumerate(sizes):
            counts = numpy.bincount(codes[self.rows.train, field], minlength=size)
            often = numpy.flatnonzero(counts >= least)
            new = numpy.zeros(max(size, len(counts)), numpy.int64)
            new[often] = 1 + numpy.arange(len(often))
            kept.append(len(often) + 1)
            inside = codes[:, field] < len(new)
            found[inside, field] = new[codes[inside, field]]
        return found, kept

    def network(self, columns, sizes, dropout):
        torch, linear = self.torch, self.torch.nn.Linear
        width, cross, hidden = columns + len(sizes) * self.EMBEDDING, self.CROSS, self.HIDDEN
        starts = torch.tensor(numpy.concatenate([[0], numpy.cumsum(sizes)[:-1]]), dtype=torch.long)

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = torch.nn.Embedding(sum(sizes), TorchDCN.EMBEDDING)
                torch.nn.init.normal_(self.embedding.weight, std=1e-4)
                rank = TorchDCN.RANK
                low = lambda: torch.nn.Sequential(linear(width, rank, bias=False), linear(rank, width))
                full = lambda: linear(width, width)
                self.cross = torch.nn.ModuleList((full if width <= 256 else low)() for _ in range(cross))
                layers = []
                for inputs, outputs in zip((width, *hidden), hidden):
                    layers += [linear(inputs, outputs), torch.nn.ReLU(), torch.nn.Dropout(dropout)]
                self.deep = torch.nn.Sequential(*layers)
                self.output = linear(width + hidden[-1], 1)

            def forward(self, numbers, codes):
                first = torch.cat([numbers, self.embedding(codes + starts).flatten(1)], 1)
                x = first
                for layer in self.cross:
                    x = x + first * layer(x)
                return self.output(torch.cat([x, self.deep(first)], 1)).squeeze(1)

        return Network()

    def fit(self, options, seed):
        torch, rows = self.torch, self.rows
        torch.manual_seed(seed)
        numbers = self.numbers
        codes, sizes = self.frequent(rows.codes, rows.codes_max, options["rare"])
        if options["buckets"]:
            numbers, sizes = numbers[:, :0], sizes + self.bucket_sizes
            codes = numpy.hstack([codes, self.buckets])
        codes = torch.from_numpy(codes)
        model = self.network(numbers.shape[1], sizes, options["dropout"])
        others = [weight for name, weight in model.named_parameters() if name != "embedding.weight"]
        groups = [{"params": [model.embedding.weight], "weight_decay": options["pull"]}, {"params": others}]
        adam = torch.optim.Adam(groups, lr=options["rate"])
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits

        def ask(places):
            model.eval()
            with torch.no_grad():
                parts = torch.from_numpy(places).split(4096)
                return torch.cat([model(numbers[part], codes[part]) for part in parts]).numpy()

        random, best = numpy.random.default_rng(seed), (float("inf"), 0, None)
        for epoch in range(1, self.EPOCHS + 1):
            model.train()
            for places in torch.from_numpy(random.permutation(rows.train)).split(self.batch):
                logits = model(numbers[places], codes[places])
                loss = loss_of(logits, self.labels[places], weight=self.weights[places])
                adam.zero_grad()
                loss.backward()
                adam.step()
            loss = rows.loss(ask(rows.validation))
            if loss < best[0]:
                best = (loss, epoch, {name: weight.clone() for name, weight in model.state_dict().items()})
            elif epoch - best[1] >= self.patience:
                break
        model.load_state_dict(best[2])
        return [ask(rows.validation), ask(rows.test)], f"{best[1]} epochs"


PEERS = {"lightgbm": LightGBM, "vw": VowpalWabbit, "torch-dcn": TorchDCN}


def run(name, folder, seeds):
    began = time.perf_counter()
    rows = Set(folder)
    peer, best, told = PEERS[name](rows), (float("inf"), None, None), []
    for option, options in peer.OPTIONS.items():
        started = time.perf_counter()
        answers, length = peer.fit(options, 1)
        loss = rows.loss(answers[0])
        told.append(f"{option}: validation log loss {loss:.5f} after {length}, {time.perf_counter() - started:.1f}s")
        print(f"{folder.name} {name} {told[-1]}", file=sys.stderr, flush=True)
        if loss < best[0]:
            best = (loss, option, answers)
    rows.answer(name, 1, *best[2])
    for seed in range(2, seeds + 1):
        rows.answer(name, seed, *peer.fit(peer.OPTIONS[best[1]], seed)[0])
    chosen = f"{best[1]} ({'; '.join(told)})\n"
    (folder / "answers" / f"{name}.chosen").write_text(chosen)
    print(f"{folder.name} {name}: {best[1]}, {time.perf_counter() - began:.1f}s", file=sys.stderr, flush=True)


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in PEERS:
        sys.exit(__doc__)
    for name in SETS:
        folder = pathlib.Path(sys.argv[2]) / name
        if (folder / "about.json").exists():
            run(sys.argv[1], folder, int(sys.argv[3]))


if __name__ == "__main__":
    main()

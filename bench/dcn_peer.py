"""DCN-v2 beside its peers: ONNX Runtime scores the same requests, PyTorch learns the same rows.

    python3 bench/dcn_peer.py serve FOLDER
    python3 bench/dcn_peer.py train FOLDER
    python3 bench/dcn_peer.py fixture FILE

FOLDER is what the example dcn_speed has written. ONNX Runtime has one thread and looks its embeddings
up itself. PyTorch learns as FuxiCTR's DCN-v2 does: dense Adam, on embeddings too; one thread. `fixture`
writes the frozen weights, inputs and scores of PyTorch with which the crate's tests compare.
"""

import os
import sys
import time

import numpy as np

FIELDS, EMBEDDING, CROSS, RANK, HIDDEN, CANDIDATES = 39, 16, 3, 64, (256, 256), 50


def numbers(folder, name):
    return np.fromfile(os.path.join(folder, name + ".f32"), dtype="<f4")


def onnx_model(folder, parallel):
    from onnx import TensorProto, helper, numpy_helper

    width = FIELDS * EMBEDDING
    nodes, weights = [], []

    def weight(name, *shape):
        array = numbers(folder, name).reshape(shape)
        if len(shape) == 2 and name != "embedding":
            array = np.ascontiguousarray(array.T)
        weights.append(numpy_helper.from_array(array, name))
        return name

    def node(kind, *inputs, **attributes):
        result = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    weights.append(numpy_helper.from_array(np.array([-1, width], dtype=np.int64), "flat"))
    weights.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
    rows = numbers(folder, "linear.keys").size
    first = node("Reshape", node("Gather", weight("embedding", rows, EMBEDDING), "rows"), "flat")
    wide = node("ReduceSum", node("Gather", weight("linear.keys", rows), "rows"), "axis", keepdims=1)
    x = first
    for layer in range(CROSS):
        low = node("MatMul", x, weight(f"cross.{layer}.v", RANK, width))
        bias = weight(f"cross.{layer}.bias", width)
        high = node("Gemm", low, weight(f"cross.{layer}.u", width, RANK), bias)
        x = node("Add", node("Mul", first, high), x)
    deep, inputs = (first if parallel else x), width
    for layer, outputs in enumerate(HIDDEN):
        matrix = weight(f"hidden.{layer}.weight", outputs, inputs)
        deep = node("Relu", node("Gemm", deep, matrix, weight(f"hidden.{layer}.bias", outputs)))
        inputs = outputs
    if parallel:
        deep, inputs = node("Concat", x, deep, axis=1), width + inputs
    logit = node("Gemm", deep, weight("output.weight", 1, inputs), weight("output.bias", 1))
    nodes.append(helper.make_node("Add", [logit, wide], ["logit"]))
    graph = helper.make_graph(
        nodes,
        "dcn",
        [helper.make_tensor_value_info("rows", TensorProto.INT64, ["n", FIELDS])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def serve(folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name in ("stacked", "parallel"):
        path = os.path.join(folder, name)
        model = onnx_model(path, name == "parallel")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        keys = np.fromfile(os.path.join(path, "keys.u64"), dtype="<u8").astype(np.int64) - 1
        requests = keys.reshape(-1, CANDIDATES, FIELDS)
        scores = np.concatenate([session.run(None, {"rows": one})[0].ravel() for one in requests])
        expected = numbers(path, "scores")
        error = np.max(np.abs(scores - expected) / (1 + np.abs(expected)))
        times = []
        for _ in range(20):
            for one in requests:
                began = time.perf_counter()
                session.run(None, {"rows": one})
                times.append((time.perf_counter() - began) * 1e6)
        half, most = np.percentile(times, [50, 99])
        print(f"serve {name} onnxruntime-{onnxruntime.__version__} p50 {half:.1f} us p99 {most:.1f} us")
        print(f"      {scores.size} scores compared, largest difference {error:.1e}")
        if error > 1e-4:
            sys.exit("the scores differ")


def network(torch, rows, columns, fields, embedding, cross, rank, hidden, parallel):
    """As FuxiCTR's, with low rank."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            linear, width = torch.nn.Linear, columns + fields * embedding
            self.embedding = torch.nn.Embedding(rows, embedding)
            torch.nn.init.normal_(self.embedding.weight, std=0.01)
            self.v = torch.nn.ModuleList(linear(width, rank, bias=False) for _ in range(cross))
            self.u = torch.nn.ModuleList(linear(rank, width) for _ in range(cross))
            sizes = [width, *hidden]
            self.hidden = torch.nn.ModuleList(map(linear, sizes, hidden))
            self.output = linear(hidden[-1] + (width if parallel else 0), 1)

        def forward(self, numeric, rows):
            first = torch.cat([numeric, self.embedding(rows).flatten(1)], 1)
            x = first
            for v, u in zip(self.v, self.u):
                x = x + first * u(v(x))
            deep = first if parallel else x
            for layer in self.hidden:
                deep = torch.relu(layer(deep))
            deep = torch.cat([x, deep], 1) if parallel else deep
            return self.output(deep).squeeze(1)

    return Network()


def auc(scores, labels):
    order = np.argsort(scores, kind="stable")
    _, place, count = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    clicks = labels[order] == 1
    pairs = clicks.sum() * (~clicks).sum()
    return (ranks[clicks].sum() - clicks.sum() * (clicks.sum() + 1) / 2) / pairs


def difference(ours, theirs, labels, rounds=400):
    """The middle 95 % of AUC less AUC, of rows drawn again."""
    random, found = np.random.default_rng(1), []
    for _ in range(rounds):
        drawn = random.integers(0, labels.size, labels.size)
        found.append(auc(ours[drawn], labels[drawn]) - auc(theirs[drawn], labels[drawn]))
    return np.percentile(found, [2.5, 97.5])


def train(folder):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    keys = np.fromfile(os.path.join(folder, "keys.u64"), dtype="<u8").astype(np.int64) - 1
    keys, labels = torch.from_numpy(keys.reshape(-1, FIELDS)), torch.from_numpy(numbers(folder, "labels"))
    batch = int(os.environ.get("BATCH", "1024"))
    model = network(torch, 1_000_000, 0, FIELDS, EMBEDDING, CROSS, RANK, HIDDEN, True)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    learned = len(labels) // 5 * 4
    # PyTorch's rate does not change with how many rows it has seen: some steps are enough for it.
    limit = int(os.environ.get("PEER_ROWS", learned))
    began = time.perf_counter()
    for start in range(0, min(limit, learned), batch):
        end = min(start + batch, learned)
        logits = model(torch.empty(end - start, 0), keys[start:end])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[start:end])
        adam.zero_grad()
        loss.backward()
        adam.step()
    rate = min(limit, learned) / (time.perf_counter() - began)
    with torch.no_grad():
        parts = [model(torch.empty(len(part), 0), part) for part in keys[learned:].split(4096)]
    theirs, judged = torch.cat(parts).numpy(), labels[learned:].numpy()
    shown = f"AUC {auc(theirs, judged):.4f}" if limit >= learned else "(not all rows: no AUC)"
    print(f"train batch {batch} PyTorch {torch.__version__} {rate:.0f} rows/s {shown}")
    if limit >= learned:
        ours = numbers(folder, "scores")
        low, high = difference(ours, theirs, judged)
        more = auc(ours, judged) - auc(theirs, judged)
        print(f"      AUC of reckon less PyTorch's {more:+.4f}, 95 % of rows drawn again {low:+.4f} to {high:+.4f}")


def fixture(path):
    """Text: a line of what follows and its shape, then its numbers."""
    import torch

    torch.manual_seed(7)
    columns, fields, embedding, rows, count = 3, 5, 4, 64, 24
    with open(path, "w", encoding="ascii") as out:

        def put(name, tensor):
            tensor = tensor.detach()
            print(name, *tensor.shape, file=out)
            print(*(f"{number:.9g}" for number in tensor.flatten().tolist()), file=out)

        for parallel in (False, True):
            model = network(torch, rows, columns, fields, embedding, 2, 6, (12, 8), parallel)
            torch.nn.init.normal_(model.embedding.weight)
            numeric, keys = torch.randn(count, columns), torch.randint(0, rows - 1, (count, fields))
            print("network", "parallel" if parallel else "stacked", file=out)
            put("embedding", model.embedding.weight)
            for layer, (v, u) in enumerate(zip(model.v, model.u)):
                put(f"cross.{layer}.v", v.weight)
                put(f"cross.{layer}.u", u.weight)
                put(f"cross.{layer}.bias", u.bias)
            for layer, hidden in enumerate(model.hidden):
                put(f"hidden.{layer}.weight", hidden.weight)
                put(f"hidden.{layer}.bias", hidden.bias)
            put("output.weight", model.output.weight)
            put("output.bias", model.output.bias)
            put("numeric", numeric)
            put("rows", keys)
            put("scores", model(numeric, keys))


def main():
    tasks = {"serve": serve, "train": train, "fixture": fixture}
    if len(sys.argv) != 3 or sys.argv[1] not in tasks:
        sys.exit(__doc__)
    tasks[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    main()

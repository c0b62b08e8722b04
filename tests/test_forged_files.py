"""Files of a right checksum and of content that is meant to harm: one error, soon and in little memory, or a model."""

import json
import resource
import struct

import numpy as np
import pytest
import sklearn
from safetensors import safe_open
from safetensors.numpy import load_file

import sklearn_mdm
from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.exceptions import SavedFileError
from sklearn_mdm.persistence import _file

# Most that the process may grow by: all files here are smaller than 3 MB.
MAX_GROWTH = 300 * 2**20
PRIME = 2**61 - 1  # by which Python divides numbers for their hashes
ROOT = "sklearn_mdm.estimators._regressor:MDMFusionRegressor"
SCALER = "sklearn.preprocessing._data:StandardScaler"
SEQUENTIAL, LINEAR = "torch.nn.modules.container:Sequential", "torch.nn.modules.linear:Linear"
ADAM, LAST_STATE = "torch.optim.adam:Adam", "sklearn_mdm.encoders._steps:last_state"
VERSION = {"_sklearn_version": sklearn.__version__}
NAMES = "which is none of those that every file may name there"
OTHER = "it holds what save does not write"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Texts, nodes and arrays of a file."""
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(size=(40, 3)), "text": rng.normal(size=(40, 2))}
    path = tmp_path_factory.mktemp("whole") / "model"
    model = MDMFusionRegressor(max_epochs=1, n_estimators=1, lam=0, random_state=0, device="cpu")
    model.fit(X, X["audio"][:, 0]).save(path)
    with safe_open(path, "numpy") as file:
        texts = file.metadata()
    arrays = load_file(path)
    return texts, arrays.pop("nodes").tobytes().decode(), arrays


def outcome(path, match):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if match is None:
        assert type(sklearn_mdm.load(path)) is MDMFusionRegressor
    else:
        with pytest.raises(SavedFileError, match=f"cannot be loaded: .*{match}") as caught:
            sklearn_mdm.load(path)
        assert len(str(caught.value)) < 1000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH


def tall(n, depth=45):
    """A tuple of two tuples, and so on, as node n + depth: what hashes, compares or writes it out never ends."""
    return [["tuple"], *(["tuple", [n + i], [n + i]] for i in range(depth))]


def module(name, children, empty, **attributes):
    return ["object", name, {"_modules": [children], "_parameters": [empty], "_buffers": [empty], **attributes}]


def chain(n, depth=5000):
    """Modules, each in the one before."""
    nodes = []
    for i in range(n, n + 2 * depth, 2):
        nodes += [module(SEQUENTIAL, i + 1, n + 2 * depth), ["ordered dict", ["0", [i + 2]]]]
    return [*nodes[:-1], ["ordered dict"], ["ordered dict"]]


def diamonds(n, depth=40):
    """Modules in pairs, both of which hold both of the next pair: 2 ** depth ways to the last."""
    nodes = []
    for i in range(n, n + 4 * depth, 4):
        children = [["0", [i + 4]], ["1", [i + 5]]] if i < n + 4 * (depth - 1) else []
        nodes += [module(SEQUENTIAL, i + k, n + 4 * depth) for k in (2, 3)] + 2 * [["ordered dict", *children]]
    return [*nodes, ["ordered dict"]]


# The last node becomes an attribute of the estimator. None: it loads.
NODES = {
    # shared nodes, cycles, depth
    "shared tuple as version": (lambda n: [*tall(n), ["object", SCALER, {"_sklearn_version": [n + 45]}]], "of a text"),
    "shared tuple as dtype": (lambda n: [*tall(n), ["dtype", [n + 45]]], "of a text"),
    "shared tuple as path": (lambda n: [*tall(n), ["path", [n + 45]]], "of a text"),
    "shared tuple as name of rows": (lambda n: [*tall(n), ["range index", 0, 3, 1, [n + 45]]], "no key"),
    "shared tuple as key": (lambda n: [*tall(n), ["dict", [[n + 45], 1]]], "no key"),
    "shared tuple as class": (lambda n: [*tall(n), ["object", [n + 45], {}]], OTHER + "|no text"),
    "list in itself": (lambda n: [["list", [n]]], None),
    "set in itself": (lambda n: [["set", [n]]], "no key"),
    "lists in lists": (lambda n: [["list"], *(["list", [n + i]] for i in range(30_000))], None),
    "tuples in tuples": (lambda n: [["tuple"], *(["tuple", [n + i]] for i in range(30_000))], None),
    # keys
    "integers of one hash": (lambda n: [["dict", *([PRIME * (i + 1), 0] for i in range(30_000))]], "hash"),
    "set of one hash": (lambda n: [["set", *(PRIME * (i + 1) for i in range(30_000))]], "hash"),
    "complex key": (lambda n: [["complex", 1.0, 2.0], ["dict", [[n], 0]]], "no key"),
    "long key": (lambda n: [["tuple", *range(20_000)], *20_000 * [["dict", [[n], 0]]]], "no key"),
    # classes and functions
    "class": (lambda n: [["name", ADAM]], NAMES),
    "class in a list": (lambda n: [["name", ADAM], ["list", [n]]], NAMES),
    "class in a tuple": (lambda n: [["name", ADAM], ["tuple", [n]]], NAMES),
    "class as key": (lambda n: [["name", ADAM], ["dict", [[n], 1]]], NAMES),
    "class of an optimizer": (lambda n: [["object", ADAM, {}]], NAMES),
    "class of a number": (lambda n: [["object", "numpy:float64", {}]], NAMES),
    "class that reads": (lambda n: [["object", "sklearn_mdm.persistence._codec:Decoder", {}]], NAMES),
    "class of an error": (lambda n: [["object", "sklearn_mdm.exceptions:SavedFileError", {}]], OTHER),
    "callback": (lambda n: [["object", "sklearn_mdm.callbacks._training:ForgetBatches", {}]], NAMES),
    "function as class": (lambda n: [["object", LAST_STATE, {}]], "does not have"),
    "function elsewhere": (lambda n: [["name", LAST_STATE], ["object", LINEAR, {"activation": [n]}]], NAMES),
    "function that builds": (lambda n: [["name", "sklearn_mdm.fusion._check:build_module"]], NAMES),
    "partial function": (lambda n: [["tuple"], ["partial", [n], [n], [n]]], "'partial'"),
    "module that torch imports": (lambda n: [["torch dtype", "onnx"]], "no dtype"),
    "no class of texts": (lambda n: [["new", SCALER, "a"]], "of another kind"),
    # attributes
    "method": (lambda n: [["object", LINEAR, {"forward": 1}]], "its class's"),
    "method of a condition": (lambda n: [["object", "sklearn.pipeline:Pipeline", {"predict": 1}]], "its class's"),
    "property": (lambda n: [["object", "sklearn_mdm.net._net:MDMNet", {"fusion_module_": 1}]], "its class's"),
    "odd names": (lambda n: [["object", LINEAR, {"": 1, "\0": 2, "\ud800": 3}]], None),
    "parametrization of a method": (
        lambda n: [
            ["ordered dict"],
            module("torch.nn.utils.parametrize:ParametrizationList", n, n),
            ["ordered dict", ["forward", [n + 1]]],
            module("torch.nn.modules.container:ModuleDict", n + 2, n),
            ["ordered dict", ["parametrizations", [n + 3]]],
            module(LINEAR, n + 4, n),
        ],
        "its class's",
    ),
    "weights of nonsense": (
        lambda n: [
            ["ordered dict"],
            ["list", "mode"],
            module("torch.nn.modules.rnn:LSTM", n, n, _flat_weights_names=[n + 1], mode="LSTM", num_layers=10**9),
        ],
        OTHER,
    ),
    # sizes
    "long range": (lambda n: [["range", 0, 10**7, 1]], "a range of"),
    "endless range": (lambda n: [["range", 0, 10**30, 1]], OTHER),
    "many rows": (lambda n: [["range index", 0, 10**7, 1, None]], "a range of"),
    "frames of a number": (
        lambda n: [
            ["range index", 0, 10**5, 1, None],
            ["range index", 0, 1, 1, None],
            *999 * [["frame", [n], [n + 1], 1]],
        ],
        "other rows",
    ),
    "indices of one array": (
        lambda n: [["tuple", 9999], ["objects", [n], *range(9999)], *2000 * [["index", [n + 1], "object", None]]],
        "content of two",
    ),
    "index of long texts": (
        lambda n: [["tuple", 2], ["objects", [n], "a", "b"], ["index", [n + 1], "S1000000000", None]],
        "other values",
    ),
    "array used twice": (lambda n: 2 * [["array", "zeros", "<f8", [1000], [0]]], "'zeros'"),
    "tensors of one array": (
        lambda n: [
            ["array", "zeros", "<f8", [1000], [0]],
            ["torch dtype", "float64"],
            *999 * [["tensor", [n], [n + 1], "cpu", False, False]],
        ],
        "content of two",
    ),
    "quantized": (
        lambda n: [
            ["array", "zeros", "|u1", [8000], [0]],
            ["torch dtype", "qint8"],
            ["tensor", [n], [n + 1], "cpu", False, False],
        ],
        OTHER,
    ),
    "no entries, but axes": (lambda n: [["array", "empty", "<f8", [0, 2**62, 2**62], [0, 1, 2]]], "too big"),
    "no entries, but texts": (lambda n: [["array", "empty", "<U100000000", [0, 10**12], [0, 1]]], "too big"),
    "axis of no entries": (lambda n: [["array", "empty", "<f8", [0, 10**12], [1, 0]]], None),
    "array of a list": (lambda n: [["array", ["zeros"], "<f8", [1], [0]]], OTHER),
    "dtype of an array": (lambda n: [["dtype", "(1000000000,)f8"]], OTHER),
    "dtype of many fields": (lambda n: [["dtype", ",".join(["f8"] * 10_000)]], "no dtype"),
    "long text as a number": (lambda n: [["float", "9" * 10**6 + "x"]], "could not convert"),
    "device of another module": (lambda n: [["device", "privateuseone:7"]], OTHER),
    # numbers
    "NaN for a position": (
        lambda n: [
            ["array", "generator", "<u4", [624], [0]],
            ["float", "nan"],
            ["random state", "MT19937", [n], [n + 1], 0, 0.0],
        ],
        "no state",
    ),
    "NaN for a node": (lambda n: [["float", "nan"], ["list", [[n]]]], OTHER),
    "number for a node": (lambda n: [["list", [1.0]]], OTHER),
    "huge number for a node": (lambda n: [["list", [10**30]]], OTHER),
    "two numbers for a node": (lambda n: [["list", [1, 2]]], OTHER),
}


@pytest.mark.parametrize("case", NODES)
def test_load__forged_nodes(case, whole, tmp_path):
    texts, nodes, arrays = whole
    nodes = json.loads(nodes)
    build, match = NODES[case]
    nodes.extend(build(len(nodes)))
    nodes[0][2]["extra"] = [len(nodes) - 1]
    more = {"zeros": np.zeros(1000), "empty": np.zeros(0), "generator": np.zeros(624, np.uint32)}
    content = np.frombuffer(json.dumps(nodes).encode(), np.uint8)
    _file.write(tmp_path / "forged", texts, {**arrays, **more, "nodes": content})
    outcome(tmp_path / "forged", match)


# What the net holds: the first of these nodes as its module, or another attribute.
NETS = {
    "module": (lambda n: [["object", SEQUENTIAL, {}]], "module_", "_modules"),
    "diamonds": (diamonds, "module_", None),
    "module in itself": (
        lambda n: [module(SEQUENTIAL, n + 1, n + 2), ["ordered dict", ["0", [n]]], ["ordered dict"]],
        "module_",
        None,
    ),
    "module in module": (chain, "module_", "RecursionError"),
    "text as module": (
        lambda n: [module(SEQUENTIAL, n + 1, n + 2), ["ordered dict", ["0", "x"]], ["ordered dict"]],
        "module_",
        OTHER,
    ),
    "text as parameter": (
        lambda n: [module(SEQUENTIAL, n + 2, n + 1), ["ordered dict", ["0", "x"]], ["ordered dict"]],
        "module_",
        OTHER,
    ),
    "estimator as module": (lambda n: [["object", SCALER, {"_apply": 1, **VERSION}]], "module_", None),
    "range of names": (lambda n: [["range", 0, 10**5, 1]], "_modules", OTHER),
    "shared tuple as device": (lambda n: [["list", [n + 46]], *tall(n + 1)], "device", "device"),
}


@pytest.mark.parametrize("case", NETS)
def test_load__forged_net(case, whole, tmp_path):
    texts, nodes, arrays = whole
    nodes = json.loads(nodes)
    build, attribute, match = NETS[case]
    net = next(node for node in nodes if node[:2] == ["object", "sklearn_mdm.net._net:MDMNet"])
    net[2][attribute] = [len(nodes)]
    nodes.extend(build(len(nodes)))
    content = np.frombuffer(json.dumps(nodes).encode(), np.uint8)
    _file.write(tmp_path / "forged", texts, {**arrays, "nodes": content})
    outcome(tmp_path / "forged", match)


ROOTS = {
    "nothing fitted": (lambda text: json.dumps([["object", ROOT, {}]]), "lacks net_, .* which fit makes"),
    "net alone": (lambda text: json.dumps([["object", ROOT, {"net_": 1, "_fitted": None}]]), "lacks modalities_"),
    "class as estimator": (lambda text: json.dumps([["name", ROOT]]), "no estimator"),
    "mapping": (lambda text: '{"a": 1}', OTHER),
    "number": (lambda text: "1", OTHER),
    "node without a kind": (lambda text: "[[]]", OTHER),
    "kind that is a list": (lambda text: '[[["list"]]]', OTHER),
    "key twice": (lambda text: text.replace('"net_":', '"net_":1,"net_":', 1), None),
    "1e999": (lambda text: text[:-1] + ',["list",1e999]]', None),
    "NaN": (lambda text: text[:-1] + ',["list",NaN]]', "NaN is no JSON"),
    "many digits": (lambda text: text[:-1] + ',["list",' + "9" * 5000 + "]]", "4300 digits"),
    "many decimals": (lambda text: text[:-1] + ',["list",0.' + "9" * 10**6 + "]]", None),
    "UTF-16": (lambda text: text.encode("utf-16"), OTHER),
    "Latin-1": (lambda text: text[:-1].encode() + b',"\xff"]', OTHER),
    "mark of bytes' order": (lambda text: b"\xef\xbb\xbf" + text.encode(), "BOM"),
    "many nodes": (lambda text: text[:-1] + 100_000 * ',["dict"]' + "]", None),
}


@pytest.mark.parametrize("case", ROOTS)
def test_load__forged_text(case, whole, tmp_path):
    texts, nodes, arrays = whole
    change, match = ROOTS[case]
    text = change(nodes)
    content = np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)
    _file.write(tmp_path / "forged", texts, {**arrays, "nodes": content})
    outcome(tmp_path / "forged", match)


def nodes_of(dtype, shape, size):
    return f'"nodes":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{size}]}}'


# Headers, with what follows, and how long they say to be.
HEADERS = {
    "no arrays": ('{"__metadata__":{TEXTS}}', 0, None, "'nodes'"),
    "number as text": ('{"__metadata__":{TEXTS,"x":1}}', 0, None, "no safetensors"),
    "texts twice": ('{"__metadata__":{TEXTS},"__metadata__":{TEXTS}}', 0, None, "no safetensors"),
    "list of texts": ('{"__metadata__":[{TEXTS}]}', 0, None, "no safetensors"),
    "longest": ('{"__metadata__":{TEXTS}}', 0, 2**64 - 1, "no safetensors"),
    "longer than the file": ('{"__metadata__":{TEXTS}}', 0, 10**6, "no safetensors"),
    "large": ('{"__metadata__":{TEXTS},' + nodes_of("F64", [10**12], 8) + "}", 8, None, "no safetensors"),
    "no entries": ('{"__metadata__":{TEXTS},' + nodes_of("F64", [0, 2**62, 2**62], 0) + "}", 0, None, "no safetensors"),
    "bfloat16": ('{"__metadata__":{TEXTS},' + nodes_of("BF16", [1], 2) + "}", 2, None, "no safetensors"),
    "half a byte": ('{"__metadata__":{TEXTS},' + nodes_of("F4", [2], 1) + "}", 1, None, "no safetensors"),
    "depth": ('{"__metadata__":{TEXTS},"x":' + "[" * 10**5, 0, None, "no safetensors"),
    "Latin-1": ('{"__metadata__":{TEXTS},"\xff":1}', 0, None, "no safetensors"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_load__forged_header(case, whole, tmp_path):
    header, n_bytes, size, match = HEADERS[case]
    texts = json.dumps({**whole[0], "sha256": "0" * 64}, separators=(",", ":"))[1:-1]
    header = header.replace("TEXTS", texts).encode("latin-1")
    content = bytearray(struct.pack("<Q", size or len(header)) + header + bytes(n_bytes))
    start, end = _file._digest_span(content)
    content[start:end] = _file._digest(content, start, end)
    (tmp_path / "forged").write_bytes(content)
    outcome(tmp_path / "forged", match)

"""Fusion systems beside those of the PyPI package ``mmsa`` (2.2.1, MIT), for the same inputs and weights.

Skipped where the package is absent: ``pip install --no-deps mmsa==2.2.1`` is enough. Its systems are imported one by
one, since the package as a whole imports transformers and more, of which they make no use here.
"""

import importlib
import importlib.util
import sys
import types
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sklearn_mdm.fusion import EarlyFusionLSTM, LowRankFusion, MemoryFusion, MISAFusion, TensorFusion

N, N_STEPS = 5, 6
TEXT, AUDIO, VIDEO = 3, 4, 2
PACKAGES = ("", ".models", ".models.singleTask", ".models.subNets", ".trains", ".trains.singleTask", ".utils")


@pytest.fixture(scope="module")
def mmsa():
    """Imports a module of the package by its name, without what the packages around it import."""
    spec = importlib.util.find_spec("MMSA")
    if spec is None:
        pytest.skip("mmsa is not installed")
    [folder] = spec.submodule_search_locations
    for name in PACKAGES:
        package = types.ModuleType(f"MMSA{name}")
        package.__path__ = [folder + name.replace(".", "/")]
        sys.modules[f"MMSA{name}"] = package
    subnets, utils = sys.modules["MMSA.models.subNets"], sys.modules["MMSA.utils"]
    parts = importlib.import_module("MMSA.models.subNets.FeatureNets")
    subnets.SubNet, subnets.TextSubNet, subnets.BertTextEncoder = parts.SubNet, parts.TextSubNet, NoBert
    utils.MetricsTop = utils.dict_to_str = None
    yield lambda name: importlib.import_module(f"MMSA.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "MMSA"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class NoBert(nn.Module):
    """In place of the pretrained text encoder: it hands over word vectors made elsewhere."""

    def __init__(self, **options):
        super().__init__()

    def forward(self, text):
        return self.words


class Given(nn.Module):
    """An encoder that is a module made elsewhere, and the object that builds it."""

    def __init__(self, module, out_dim):
        super().__init__()
        self.module, self.out_dim = module, out_dim

    def build(self, shape):
        return self

    def forward(self, x, mask=None):
        return self.module(x)


def sequences():
    return {name: torch.randn(N, N_STEPS, d) for name, d in (("text", TEXT), ("audio", AUDIO), ("video", VIDEO))}


def shapes(X):
    return {name: tuple(x.shape[1:]) for name, x in X.items()}


def copy_linear(ours, theirs):
    linear = [layer for layer in ours.modules() if isinstance(layer, nn.Linear)]
    for layer, source in zip(linear, theirs, strict=True):
        layer.load_state_dict(source.state_dict())


def close(ours, theirs):
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("n_layers", [1, 2])
def test_early_fusion_lstm__same_weights__equals_mmsa(mmsa, n_layers):
    """Embeddings without bias and nonlinearity are a factor of the input weights of the LSTM."""
    X = sequences()
    args = SimpleNamespace(
        feature_dims=(TEXT, AUDIO, VIDEO),
        seq_lens=N_STEPS,
        hidden_dims=7,
        num_layers=n_layers,
        dropout=0.0,
        num_classes=3,
        train_mode="classification",
    )
    theirs = mmsa("models.singleTask.EF_LSTM").EF_LSTM(args).eval()
    theirs.norm = nn.Identity()  # a batch normalisation of each step, where ours standardises features beforehand
    ours = EarlyFusionLSTM(embed_dim=5, hidden_dim=7, n_layers=n_layers).build(shapes(X), 3).eval()
    copy_linear(ours.head, [theirs.linear, theirs.out])
    weights = ours.lstm.state_dict()
    weights["weight_ih_l0"] = weights["weight_ih_l0"] @ torch.block_diag(*(e.weight for e in ours.embeddings.values()))
    theirs.lstm.load_state_dict(weights)
    close(ours(X).prediction, theirs(*X.values())["M"])


def subnets(theirs):
    """What mmsa reads each modality with, as encoders, in the order of its products."""
    return {
        "audio": Given(theirs.audio_subnet, theirs.audio_hidden),
        "video": Given(theirs.video_subnet, theirs.video_hidden),
        "text": Given(theirs.text_subnet, theirs.text_out),
    }


def mixed():
    return {"audio": torch.randn(N, AUDIO), "video": torch.randn(N, VIDEO), "text": torch.randn(N, N_STEPS, TEXT)}


@torch.no_grad()
def test_tensor_fusion__same_weights__equals_mmsa(mmsa):
    X = mixed()
    args = SimpleNamespace(
        feature_dims=(TEXT, AUDIO, VIDEO),
        hidden_dims=(6, 3, 4),
        text_out=5,
        post_fusion_dim=7,
        dropouts=(0.0, 0.0, 0.0, 0.0),
        num_classes=3,
        train_mode="classification",  # for regression, mmsa squeezes the output into [-3, 3]
    )
    theirs = mmsa("models.singleTask.TFN").TFN(args).eval()
    ours = TensorFusion(hidden_dims=(7, 7)).build(shapes(X), 3, encoder=subnets(theirs)).eval()
    copy_linear(
        nn.ModuleList([ours.hidden, ours.out]),
        [theirs.post_fusion_layer_1, theirs.post_fusion_layer_2, theirs.post_fusion_layer_3],
    )
    # The one comes first in the representations of mmsa, and last in ours.
    products = ours.hidden[0].weight.unflatten(1, (3 + 1, 4 + 1, 5 + 1))
    ours.hidden[0].weight.copy_(products.roll((-1, -1, -1), (1, 2, 3)).flatten(1))
    output, expected = ours(X), theirs(X["text"], X["audio"], X["video"])
    close(output.prediction, expected["M"])
    for name in X:
        close(output.representations[name], expected[f"Feature_{name[0]}"])


@torch.no_grad()
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_low_rank_fusion__same_weights__equals_mmsa(mmsa, n_outputs):
    X = mixed()
    args = SimpleNamespace(
        feature_dims=(TEXT, AUDIO, VIDEO),
        hidden_dims=(6, 3, 4),
        rank=4,
        dropouts=(0.0, 0.0, 0.0, 0.0),
        num_classes=n_outputs,
        train_mode="classification",
    )
    theirs = mmsa("models.singleTask.LMF").LMF(args).eval()
    theirs.fusion_bias.normal_()
    ours = LowRankFusion(rank=4).build(shapes(X), n_outputs, encoder=subnets(theirs)).eval()
    for name, factor in ours.factors.items():
        source = getattr(theirs, f"{name}_factor")  # (rank, 1 + width of the representation, outputs)
        factor.weight.copy_(source[:, 1:].transpose(1, 2).flatten(0, 1))
        factor.bias.copy_(source[:, 0].flatten())
    ours.rank_weights.copy_(theirs.fusion_weights[0])
    ours.bias.copy_(theirs.fusion_bias[0])
    close(ours(X).prediction, theirs(X["text"], X["audio"], X["video"])["M"])


@torch.no_grad()
def test_memory_fusion__same_weights__equals_mmsa(mmsa):
    X = sequences()
    part = {name: {"shapes": width, "drop": 0.0} for name, width in zip("ABCDE", (5, 6, 7, 8, 9), strict=True)}
    args = SimpleNamespace(
        feature_dims=(TEXT, AUDIO, VIDEO),
        hidden_dims=(4, 3, 2),
        memsize=5,
        windowsize=2,
        NN1Config=part["A"],
        NN2Config=part["B"],
        gamma1Config=part["C"],
        gamma2Config=part["D"],
        outConfig=part["E"],
        num_classes=3,
        train_mode="classification",
    )
    theirs = mmsa("models.singleTask.MFN").MFN(args).eval()
    fusion = MemoryFusion(
        hidden_dims=(4, 3, 2),
        memory_dim=5,
        attention_dim=5,
        candidate_dim=6,
        retain_dim=7,
        update_dim=8,
        head_dim=9,
    )
    ours = fusion.build(shapes(X), 3).eval()
    for name, cell in ours.cells.items():
        cell.load_state_dict(getattr(theirs, f"lstm_{'l' if name == 'text' else name[0]}").state_dict())
    copy_linear(ours.attention, [theirs.att1_fc1, theirs.att1_fc2])
    copy_linear(
        nn.ModuleList([ours.candidate, ours.retain, ours.update]),
        [theirs.att2_fc2, theirs.gamma1_fc2, theirs.gamma2_fc2],
    )
    copy_linear(ours.head, [theirs.out_fc1, theirs.out_fc2])
    # The first layers of the candidate and of both gates are side by side in ours; what the gates read of the memory is
    # a layer of its own.
    window = 2 * (4 + 3 + 2)
    first = [theirs.att2_fc1, theirs.gamma1_fc1, theirs.gamma2_fc1]
    ours.read.weight.copy_(torch.cat([layer.weight[:, :window] for layer in first]))
    ours.read.bias.copy_(torch.cat([layer.bias for layer in first]))
    ours.recall.weight.copy_(torch.cat([layer.weight[:, window:] for layer in first[1:]]))
    output, expected = ours(X), theirs(*X.values())
    close(output.fused, expected["L"])
    close(output.prediction, expected["M"])


@pytest.fixture
def misa(mmsa):
    """Both MISAs with the same weights, and inputs of the same meaning for each; texts differ in length."""
    args = SimpleNamespace(
        use_bert=True,
        use_finetune=False,
        transformers="bert",
        pretrained="",
        feature_dims=(768, AUDIO, VIDEO),
        hidden_size=32,  # narrower representations are short, and mmsa adds 1e-6 to their length
        rnncell="lstm",
        use_cmd_sim=True,
        dropout=0.0,
        num_classes=3,
        train_mode="classification",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, on what its fast path needs
        theirs = mmsa("models.singleTask.MISA").MISA(args).eval()
    lengths = torch.tensor([6, 1, 3, 5, 2])
    words = torch.arange(N_STEPS) < lengths.unsqueeze(1)
    theirs.bertmodel.words = torch.randn(N, N_STEPS, 768)
    text = torch.stack([torch.zeros(N, N_STEPS), words, torch.zeros(N, N_STEPS)], dim=1)
    X = {
        "text": (theirs.bertmodel.words * words.unsqueeze(2)).sum(1) / lengths.unsqueeze(1),
        "video": torch.randn(N, N_STEPS, VIDEO),
        "audio": torch.randn(N, N_STEPS, AUDIO),
    }
    mask = {"text": torch.ones(N, dtype=torch.bool), "video": words, "audio": words}
    ours = MISAFusion(hidden_dim=32, n_heads=2, feedforward_dim=2048, dropout=0.0).build(shapes(X), 3)
    for name in X:
        copy_linear(ours.private[name], [getattr(theirs, f"private_{name[0]}")[0]])
        copy_linear(ours.decode[name], [getattr(theirs, f"recon_{name[0]}")[0]])
        source = getattr(theirs, f"project_{name[0]}").parameters()
        for parameter, value in zip(ours.project[name].parameters(), source, strict=True):
            parameter.data.copy_(value)
    for name in ("video", "audio"):
        encoder, project = ours.encoders.encoders[name], ours.project[name][0]
        encoder.first.load_state_dict(getattr(theirs, f"{name[0]}rnn1").state_dict())
        encoder.second.load_state_dict(getattr(theirs, f"{name[0]}rnn2").state_dict())
        encoder.norm.load_state_dict(getattr(theirs, f"{name[0]}layer_norm").state_dict())
        # Each direction of both layers side by side in mmsa, each layer with both directions in ours.
        project.weight.data = project.weight.data.unflatten(1, (2, 2, -1)).transpose(1, 2).flatten(1)
    copy_linear(ours.shared, [theirs.shared[0]])
    copy_linear(nn.ModuleList([ours.fuse, ours.out]), [theirs.fusion[0], theirs.fusion[3]])
    ours.attend.load_state_dict(theirs.transformer_encoder.layers[0].state_dict())
    return ours, theirs, (X, mask), (text, X["audio"], X["video"])


@torch.no_grad()
def test_misa__same_weights__equals_mmsa(misa):
    ours, theirs, X, inputs = misa
    output, expected = ours.eval()(*X), theirs(*inputs)["M"]
    close(output.prediction, expected)
    for name, z in output.representations.items():
        close(z, getattr(theirs, f"utt_{name[0]}_orig"))


@torch.no_grad()
def test_misa__same_weights__has_the_losses_of_mmsa(mmsa, misa):
    ours, theirs, X, inputs = misa
    part = mmsa("trains.singleTask.MISA")
    losses = SimpleNamespace(
        args=SimpleNamespace(use_cmd_sim=True),
        model=SimpleNamespace(Model=theirs),
        loss_cmd=part.CMD(),
        loss_diff=part.DiffLoss(),
        loss_recon=part.MSE(),
    )
    theirs(*inputs)
    for weights, loss in [
        ((1.0, 0.0, 0.0), part.MISA.get_cmd_loss),
        ((0.0, 1.0, 0.0), part.MISA.get_diff_loss),
        ((0.0, 0.0, 1.0), part.MISA.get_recon_loss),
    ]:
        ours.weights = weights
        close(ours.train()(*X).penalty, loss(losses))

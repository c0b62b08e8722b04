"""Several networks as one with a member axis: it does for each of them what they do alone."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from sklearn_mdm.critic import (
    CRITICS,
    CosineCritic,
    Critic,
    EncodedCritic,
    LipschitzCritic,
    MultilinearCritic,
    SeparableCritic,
)
from sklearn_mdm.critic._negatives import offset_indices, stacked_indices
from sklearn_mdm.encoders import MLPEncoder, ModalityEncoders
from sklearn_mdm.fusion import (
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)
from sklearn_mdm.measures import (
    KL,
    KNIFE,
    MEASURES,
    SMILE,
    FDivergence,
    InfoNCE,
    JensenShannon,
    PairwiseInfoNCE,
    Wasserstein,
    WassersteinPredictiveCoding,
)
from sklearn_mdm.measures._contract import stacks
from sklearn_mdm.utils._layers import mlp
from sklearn_mdm.utils._rng import MemberStreams, RandomStream, drawing_from
from sklearn_mdm.utils._stacking import can_stack, stack

K, B = 3, 7
VECTORS = {"m0": (4,), "m1": (3,), "m2": (5,)}
SEQUENCES = {"m0": (6, 4), "m1": (3,), "m2": (5, 2)}
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def members(build):
    """Members with weights of their own, buffers too."""
    made = []
    for k in range(K):
        with drawing_from(RandomStream(k)):
            made.append(build().double())
            with torch.no_grad():  # what starts at zero is compared at other values
                for tensor in (*made[-1].parameters(), *made[-1].buffers()):
                    tensor.add_(torch.randn(tensor.shape, dtype=torch.float64), alpha=0.1)
    return made


def stream(k):
    return RandomStream(100 + k)


def compare(single, inputs, run):
    """Run the members one by one and as one: outputs, and gradients of weights and inputs, must agree.

    ``run(module, inputs)`` returns tensors, where ``inputs`` is a list of tensors (K, ...) or of one's part of each.
    """
    assert all(can_stack(module) for module in single)
    for module in single:
        module.zero_grad()
    before = [copy.deepcopy(module) for module in single]
    together = stack(before, torch.stack)
    expected, parts = [], []
    for k, module in enumerate(single):
        part = [x[k].clone().requires_grad_(x.is_floating_point()) for x in inputs]
        with drawing_from(stream(k)):
            outputs = run(module, part)
        total(outputs).backward()
        expected.append([*outputs, *module.buffers()])
        parts.append([x.grad for x in part if x.grad is not None])
    every = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    with drawing_from(MemberStreams([stream(k) for k in range(K)])):
        outputs = run(together, every)
    total(outputs).backward()
    found = [*outputs, *together.buffers()]
    for tensor, of_each in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(tensor, torch.stack(of_each), **CLOSE)
    found = [x.grad for x in every if x.grad is not None]
    for tensor, of_each in zip(found, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(tensor, torch.stack(of_each), **CLOSE)
    for one, other in zip(single, before, strict=True):
        for parameter, reached in zip(one.parameters(), other.parameters(), strict=True):
            if parameter.grad is None:
                assert reached.grad is None or not reached.grad.any()
            else:
                torch.testing.assert_close(reached.grad, parameter.grad, **CLOSE)


def total(outputs):
    """A number that depends on every entry of the outputs, and adds up over members."""
    return sum((i * torch.sin(i * output)).sum() for i, output in enumerate(outputs, 1))


def data(shapes, masked):
    g = torch.Generator().manual_seed(0)
    x = [torch.randn(K, B, *shape, generator=g, dtype=torch.float64) for shape in shapes.values()]
    masks = [torch.rand(K, B, *shape[:-1], generator=g) > 0.4 for shape in shapes.values()] if masked else []
    for mask in masks:
        mask[:, 0] = False  # a sample without anything
    return x + masks


def run_fusion(shapes):
    def run(module, inputs):
        X = dict(zip(shapes, inputs[: len(shapes)], strict=True))
        mask = dict(zip(shapes, inputs[len(shapes) :], strict=True)) if inputs[len(shapes) :] else None
        output = module(X, mask)
        assert output.penalty is None
        return [output.prediction, output.fused, *output.representations.values()]

    return run


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_layers(dropout):
    single = members(lambda: nn.Sequential(mlp(4, (8, 6), 2, dropout), nn.Identity(), nn.GELU(), nn.Linear(2, 3)))
    compare(single, data({"m0": (4,)}, False), lambda module, x: [module(x[0])])
    compare(single, data({"m0": (2, 5, 4)}, False), lambda module, x: [module(x[0])])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shapes", [VECTORS, SEQUENCES])
@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
@pytest.mark.parametrize(
    "fusion",
    [
        ConcatFusion(dropout=0.3),
        LateFusion(dropout=0.3),
        LateFusion(weights="even", dropout=0.0),
        LowRankFusion(rank=3),
    ],
    ids=["concat", "late", "even", "low_rank"],
)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_fusion(fusion, missing, shapes, masked, n_outputs):
    encoder = MLPEncoder((5,), 4, dropout=0.3)
    single = members(lambda: fusion.build(shapes, n_outputs, encoder=encoder, missing=missing))
    compare(single, data(shapes, masked), run_fusion(shapes))


WIDTHS = [4, 4, 4], [4, 3, 2], [30, 20, 10]  # scaled as one, one by one, projected first
CRITIC_CLASSES = {
    "concatenated": Critic,
    "encoded": EncodedCritic,
    "separable": SeparableCritic,
    "multilinear": MultilinearCritic,
    "lipschitz": LipschitzCritic,
    "cosine": lambda widths, hidden_dims, raw: CosineCritic(widths, hidden_dims[-1], raw=raw),
}
BUILT_IN_MEASURES = {
    "kl": KL(),
    "plain_kl": KL(bound=None, moving_average=None),
    "nwj": FDivergence(),
    "reverse_kl": FDivergence(divergence="reverse_kl"),
    "jensen_shannon": FDivergence(divergence="jensen_shannon"),
    "hellinger": FDivergence(divergence="squared_hellinger"),
    "jsd": JensenShannon(),
    "smile": SMILE(clip=0.1),
    "infonce": InfoNCE(),
    "pairwise_infonce": PairwiseInfoNCE(),
    "wasserstein": Wasserstein(),
    "wpc": WassersteinPredictiveCoding(),
}


def index_of_negatives(m, n_sets):
    return stacked_indices(B, m, n_sets, [torch.Generator().manual_seed(k) for k in range(K)])


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("kind", CRITIC_CLASSES)
def test_critic(kind, widths, raw):
    bound = {} if kind in ("lipschitz", "cosine") else {"bound": 10.0}
    single = members(lambda: CRITIC_CLASSES[kind](widths, (8, 6), raw=raw, **bound))
    z = data({f"m{j}": (width,) for j, width in enumerate(widths)}, False)
    compare(single, z, lambda critic, z: [critic(z)])
    for n_sets in (1, 3):
        compare(single, [*z, index_of_negatives(3, n_sets)], lambda critic, z: list(critic(z[:-1], z[-1])))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_all_tuples(m):
    single = members(lambda: MultilinearCritic([3] * m, (6, 5)))
    compare(single, data({str(j): (3,) for j in range(m)}, False), lambda critic, z: [critic.all_tuples(z)])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_all_pairs(m):
    single = members(lambda: CosineCritic([3] * m, 5))
    compare(single, data({str(j): (3,) for j in range(m)}, False), lambda critic, z: [critic.all_pairs(z)])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "name, kind",
    [
        (name, kind)
        for name, measure in BUILT_IN_MEASURES.items()
        for kind in ([None] if measure.own_critic else CRITICS)
    ],
)
def test_measure(name, kind, training, monkeypatch):
    measure = BUILT_IN_MEASURES[name]
    monkeypatch.setattr("sklearn_mdm.measures._contrastive.MAX_TUPLES_OF_A_ROW", 9)  # three rows at a time
    single = members(lambda: measure.build_critic([4, 3, 2], (8, 6), kind=kind).train(training))
    z = data({"m0": (4,), "m1": (3,), "m2": (2,)}, False)

    def run(critic, inputs):
        *z, index = inputs
        return [measure.critic_objective(critic, z, index), measure.value(critic, z, index)]

    compare(single, [*z, index_of_negatives(3, 2)], run)


@pytest.mark.parametrize("n_samples, m, n_sets", [(7, 2, 1), (7, 3, 4), (3, 3, 1), (1, 1, 2)])
def test_negatives(n_samples, m, n_sets):
    generators = [[torch.Generator().manual_seed(k) for k in range(K)] for _ in range(2)]
    for _ in range(2):  # generators are left in the same state
        found = stacked_indices(n_samples, m, n_sets, generators[0])
        assert torch.equal(
            found, torch.stack([offset_indices(n_samples, m, n_sets, generator) for generator in generators[1]])
        )


@pytest.mark.parametrize(
    "fusion, stackable",
    [
        (ConcatFusion(dropout=0.0), True),
        (LateFusion(dropout=0.0), True),
        (LowRankFusion(), True),
        (TensorFusion(), False),
        (EarlyFusionLSTM(), False),
        (MemoryFusion(), False),
        (MultiAttentionFusion(), False),
        (MISAFusion(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fusions_that_stack(fusion, stackable):
    needs_steps = isinstance(fusion, EarlyFusionLSTM | MemoryFusion | MultiAttentionFusion)
    shapes = {"m0": (5, 3), "m1": (5, 2)} if needs_steps else {"m0": (3,), "m1": (2,)}
    assert can_stack(fusion.build(shapes, 1)) == stackable


@pytest.mark.parametrize("encoder", ["mlp", "gru", "lstm", "transformer"])
def test_encoders_that_stack(encoder):
    assert can_stack(ModalityEncoders(SEQUENCES, {"m0": encoder, "m2": "mlp"})) == (encoder == "mlp")


def test_critics_that_stack():
    assert {kind for kind, critic in CRITICS.items() if can_stack(critic([3, 2]))} == set(CRITICS)
    assert can_stack(LipschitzCritic([3, 2]))
    assert can_stack(CosineCritic([3, 2]))
    assert not can_stack(KNIFE().build_critic([3, 2]))


def test_measures_that_stack():
    found = {name for name, measure in MEASURES.items() if stacks(measure())}
    assert found == {"kl", "f", "nwj", "jsd", "smile", "infonce", "cpc", "pairwise_infonce", "wasserstein", "wpc"}


def test_a_subclass_does_not_stack_unless_it_says_so():
    class OfRows(Critic):
        pass

    class Stacked(OfRows):
        member_axis = True

    class Own(KL):
        pass

    assert not can_stack(OfRows([3, 2]))
    assert can_stack(Stacked([3, 2]))
    assert not stacks(Own())
    assert not can_stack(orthogonal(type("Own", (nn.Linear,), {})(3, 2)))
    module = ConcatFusion(dropout=0.0).build(VECTORS, 1)
    module.head = type("Own", (nn.Sequential,), {})(*module.head)
    assert not can_stack(module)

"""From one modality to its representation: what encoders make of steps, masks and missing samples."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.func import functional_call

from sklearn_mdm.encoders import GRUEncoder, LSTMEncoder, MLPEncoder, ModalityEncoders, TransformerEncoder
from sklearn_mdm.encoders._mlp import mean_and_std
from sklearn_mdm.encoders._modality_encoders import ENCODERS
from sklearn_mdm.encoders._sequence import sinusoids
from sklearn_mdm.encoders._steps import last_state, mean_over_steps, mean_state, observed_first

SMALL = {
    "mlp": MLPEncoder((6,), 3, dropout=0.0),
    "lstm": LSTMEncoder(5, 3),
    "gru": GRUEncoder(5, 3),
    "transformer": TransformerEncoder(6, n_heads=2, out_dim=3),
}
DEEP = {
    "mlp": MLPEncoder((6, 5), 3, dropout=0.5),
    "lstm": LSTMEncoder(5, None, n_layers=2, dropout=0.5),
    "gru": GRUEncoder(5, None, n_layers=2, dropout=0.5),
    "transformer": TransformerEncoder(4, n_heads=1, n_layers=3, out_dim=3, dropout=0.5),
}
STEPWISE = ["lstm", "gru", "transformer"]
nan = float("nan")
# Few observed steps, and nearly all of them; in each a sample without any and one with a gap.
MASKS = {
    "few": [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]],
    "most": [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]],
}


@pytest.fixture(params=[*(f"{name}" for name in SMALL), *(f"deep {name}" for name in DEEP)])
def encoder(request):
    *deep, name = request.param.split()
    return built((DEEP if deep else SMALL)[name], (6, 2))


@pytest.fixture(params=list(MASKS))
def mask(request):
    return torch.tensor(MASKS[request.param]).bool()


def built(parameters, shape):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = parameters.build(shape)
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return module.double().eval()


def steps(n=5, n_steps=6, seed=0):
    return torch.randn(n, n_steps, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


# --- what an encoder reads -------------------------------------------------------------------------------------------


def test_representation__is_as_wide_as_out_dim(encoder):
    assert encoder(steps()).shape == (5, encoder.out_dim)
    assert encoder(steps(n_steps=9)).shape == (5, encoder.out_dim)


def test_representation__is_that_of_the_observed_steps_alone(encoder, mask):
    x = steps()
    representations = encoder(x, mask)
    for i, seen in enumerate(mask):
        if seen.any():
            equal(representations[[i]], encoder(x[[i]][:, seen]))


def test_mask_of_ones__is_no_mask(encoder):
    x = steps()
    equal(encoder(x, torch.ones(5, 6, dtype=torch.bool)), encoder(x))


def test_sample_without_a_step__has_the_same_representation_in_any_batch(encoder, mask):
    representations = encoder(torch.where(mask.unsqueeze(-1), steps(), 0), mask)
    assert torch.isfinite(representations).all()
    for n_steps in (1, 8):
        alone = encoder(torch.zeros(1, n_steps, 2).double(), torch.zeros(1, n_steps, dtype=torch.bool))
        equal(representations[[1]], alone)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_sample_without_a_step__has_the_representation_of_the_initial_state(name):
    encoder = built(SMALL[name], (6, 2))
    representation = encoder(steps(2), torch.tensor([[False] * 6, [True] * 6]))[0]
    equal(representation, encoder.out.bias)


@pytest.mark.parametrize("garbage", [1e3, -1e30, nan, float("inf")])
def test_garbage_under_the_mask__changes_neither_representations_nor_gradients(mask, garbage):
    def run(value):
        encoders = ModalityEncoders(shapes, SMALL).double()
        encoders.load_state_dict(state)
        X = {name: torch.where(mask.unsqueeze(-1), steps(), value).requires_grad_() for name in shapes}
        found = encoders.represent(X, dict.fromkeys(shapes, mask))
        sum(z.square().sum() for z in found.values()).backward()
        for x in X.values():
            assert not x.grad[~mask].any()
        return [*found.values(), *(parameter.grad for parameter in encoders.parameters())]

    shapes = dict.fromkeys(SMALL, (6, 2))
    state = ModalityEncoders(shapes, SMALL).double().state_dict()
    for a, b in zip(run(0.0), run(garbage), strict=True):
        equal(a, b)


def test_appended_steps__change_nothing(encoder, mask):
    x = steps()
    for n in (1, 30):
        padded = torch.cat([x, torch.full((5, n, 2), 7.0, dtype=x.dtype)], dim=1)
        equal(encoder(padded, nn.functional.pad(mask, (0, n)))[[0, 2, 3, 4]], encoder(x, mask)[[0, 2, 3, 4]])


def test_batch_mates__change_nothing(encoder, mask):
    x = torch.where(mask.unsqueeze(-1), steps(), 0)
    together = encoder(x, mask)
    for i in range(5):
        equal(encoder(x[[i]], mask[[i]]), together[[i]])


@pytest.mark.parametrize("name", STEPWISE)
def test_order_of_steps__matters_to_what_reads_step_by_step(name):
    x = steps()
    assert ((built(SMALL[name], (6, 2))(x) - built(SMALL[name], (6, 2))(x.flip(1))).abs() > 1e-4).any(1).all()


def test_order_of_steps__is_nothing_to_the_mlp():
    encoder = built(SMALL["mlp"], (6, 2))
    equal(encoder(steps()), encoder(steps().flip(1)))


def test_vector__is_read_by_the_mlp():
    assert built(SMALL["mlp"], (4,))(torch.zeros(5, 4).double()).shape == (5, 3)


# --- gradients, copies -----------------------------------------------------------------------------------------------


def test_gradients__are_those_of_finite_differences(encoder, mask):
    names = [name for name, _ in encoder.named_parameters()]
    values = [value.detach().clone().requires_grad_() for _, value in encoder.named_parameters()]

    def run(x, *parameters):
        return functional_call(encoder, dict(zip(names, parameters, strict=True)), (x, mask))

    x = torch.where(mask.unsqueeze(-1), steps(), 0).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def test_every_parameter__gets_a_gradient(encoder, mask):
    encoder.zero_grad()
    encoder(steps(), mask).square().sum().backward()
    assert not [name for name, parameter in encoder.named_parameters() if not parameter.grad.any()]


def test_without_gradients__the_representation_is_the_same(encoder, mask):
    x = torch.where(mask.unsqueeze(-1), steps(), 0)
    with torch.no_grad():
        found = encoder(x, mask)
    equal(found, encoder(x, mask))


def test_dropout__acts_in_training_only(encoder):
    x = steps()
    random = [module for module in encoder.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    encoder.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        differs = not torch.equal(encoder(x), encoder(x))
    assert differs == bool(random)
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_copy_and_pickle__give_the_same_representations(encoder, mask):
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(other(steps(), mask), encoder(steps(), mask))


def test_transformer_layers__start_from_weights_of_their_own():
    layers = TransformerEncoder(n_layers=2).build((6, 2)).layers
    assert not torch.equal(layers[0].linear1.weight, layers[1].linear1.weight)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_observed_first__keeps_the_order_and_drops_what_no_sample_fills():
    x = torch.arange(8.0).view(2, 4, 1)
    found, lengths = observed_first(x, torch.tensor([[False, True, False, True], [False, False, True, False]]))
    assert lengths.tolist() == [2, 1]
    assert found.shape == (2, 2, 1)
    assert found[0, :, 0].tolist() == [1, 3] and found[1, 0, 0] == 6


def test_observed_first__nothing_observed__leaves_one_step():
    found, lengths = observed_first(torch.zeros(2, 4, 1), torch.zeros(2, 4, dtype=torch.bool))
    assert found.shape == (2, 1, 1) and lengths.tolist() == [0, 0]


@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU])
def test_last_state__is_that_of_a_cell_that_rests_where_nothing_is_observed(cls, mask):
    x = steps()
    network = cls(2, 3, batch_first=True).double()
    cell = (nn.LSTMCell if cls is nn.LSTM else nn.GRUCell)(2, 3).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in network.state_dict().items()})
    for i, seen in enumerate(mask):
        state = None
        for t in range(6):
            if seen[t]:
                state = cell(x[[i], t], state)
        h = torch.zeros(1, 3).double() if state is None else state[0] if cls is nn.LSTM else state
        equal(last_state(network, x, mask)[[i]], h)


@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU])
def test_mean_state__is_the_mean_of_the_last_states_after_each_observed_step(cls, mask):
    x = steps()
    network = cls(2, 3, batch_first=True).double()
    for i, seen in enumerate(mask):
        row = x[[i]][:, seen]
        states = [last_state(network, row[:, : n + 1], None) for n in range(row.shape[1])]
        expected = torch.stack(states).mean(0) if states else torch.zeros(1, 3).double()
        equal(mean_state(network, x, mask)[[i]], expected)


def test_pooling_of_another_name__error():
    with pytest.raises(ValueError, match=r"'pooling' parameter of GRUEncoder must be a str among .*Got 'max'"):
        GRUEncoder(pooling="max").build((6, 2))


def test_mean_over_steps__is_that_of_the_observed_ones(mask):
    x = steps()
    expected = [x[i, seen].mean(0) if seen.any() else torch.zeros(2).double() for i, seen in enumerate(mask)]
    equal(mean_over_steps(x, mask), torch.stack(expected))
    equal(mean_over_steps(x, None), x.mean(1))


def test_mean_and_std__of_nothing__are_those_of_standardised_data():
    assert mean_and_std(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 1, 1]]


def test_sinusoids__are_sine_and_cosine_of_geometric_wavelengths():
    t, i = np.arange(7)[:, None], np.arange(5)
    angle = t / 10000 ** (2 * i / 10)
    found = sinusoids(7, 10).numpy()
    assert_allclose(found[:, 0::2], np.sin(angle), rtol=0, atol=1e-12)
    assert_allclose(found[:, 1::2], np.cos(angle), rtol=0, atol=1e-12)


# --- choosing encoders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ENCODERS))
def test_name__gives_an_encoder_of_32_features(name):
    encoders = ModalityEncoders({"m0": (6, 2)}, name)
    assert encoders.code_dims == {"m0": 32}
    assert encoders.represent({"m0": steps().float()})["m0"].shape == (5, 32)


def test_mapping__sets_the_encoder_of_each_modality_and_leaves_the_others_to_auto():
    shapes = {"m0": (6, 2), "m1": (3,), "m2": (6, 2)}
    encoders = ModalityEncoders(shapes, {"m0": LSTMEncoder(4, 7)})
    kinds = {name: type(encoder) for name, encoder in encoders.encoders.items()}
    vector = MLPEncoder(dropout=0.0).build((3,))
    assert kinds == {"m0": type(LSTMEncoder().build((6, 2))), "m1": type(vector), "m2": kinds["m0"]}
    assert isinstance(encoders.encoders["m0"].network, nn.LSTM) and isinstance(encoders.encoders["m2"].network, nn.GRU)
    assert encoders.code_dims == {"m0": 7, "m1": 32, "m2": 32}
    pooled = ModalityEncoders(shapes, sequence_encoder="mlp").encoders
    assert pooled["m0"].pool and not pooled["m1"].pool


@pytest.mark.parametrize("name", STEPWISE)
def test_vector__for_what_reads_step_by_step__error_names_modality_and_remedy(name):
    with pytest.raises(ValueError, match=r"modality 'm1': \w+Encoder reads sequences .* vector .*5\).*\"mlp\""):
        ModalityEncoders({"m0": (6, 2), "m1": (5,)}, name)


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (MLPEncoder((4, 0)), r"'hidden_dims' parameter of MLPEncoder must be .*Got \(4, 0\)"),
        (MLPEncoder(out_dim=0), "'out_dim' parameter of MLPEncoder must be .*Got 0"),
        (MLPEncoder(out_dim=4.5), "'out_dim' parameter of MLPEncoder must be .*Got 4.5"),
        (LSTMEncoder(hidden_dim=0), "'hidden_dim' parameter of LSTMEncoder must be .*Got 0"),
        (LSTMEncoder(hidden_dim=2.5), "'hidden_dim' parameter of LSTMEncoder must be .*Got 2.5"),
        (GRUEncoder(out_dim=-1), "'out_dim' parameter of GRUEncoder must be .*Got -1"),
        (GRUEncoder(n_layers=0), "'n_layers' parameter of GRUEncoder must be .*Got 0"),
        (TransformerEncoder(n_heads=0), "'n_heads' parameter of TransformerEncoder must be .*Got 0"),
        (TransformerEncoder(d_model=9, n_heads=3), "even d_model that n_heads divides, got d_model=9 and n_heads=3"),
        (TransformerEncoder(d_model=8, n_heads=3), "even d_model that n_heads divides, got d_model=8 and n_heads=3"),
    ],
)
def test_sizes__that_cannot_be__are_named_with_their_modality(encoder, match):
    with pytest.raises(ValueError, match=rf"modality 'm0': .*{match}"):
        ModalityEncoders({"m0": (6, 2)}, encoder)


@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize("name", STEPWISE)
def test_estimator__ragged_sequences__fit_predict_and_pickle(estimator, sequences, y, name):
    fitted = estimator(encoder={"steps": SMALL[name]}, lam=0.1).fit(sequences, y)
    ragged = [None if np.isnan(s).all() else s[~np.isnan(s).all(1)] for s in sequences["steps"]]
    forms = (
        {**sequences, "steps": ragged},
        {**sequences, "steps": np.pad(sequences["steps"], ((0, 0), (0, 9), (0, 0)), constant_values=nan)},
    )
    for form in forms:
        assert_allclose(fitted.transform(form), fitted.transform(sequences), rtol=0, atol=1e-10)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(sequences), fitted.predict(sequences))

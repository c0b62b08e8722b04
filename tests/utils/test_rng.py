"""Random numbers of one's own: the bits of torch's global generator under the same seed, which is left alone."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn
from torch.nn import functional

from sklearn_mdm.critic import EncodedCritic
from sklearn_mdm.utils._rng import RandomStream, drawing_from, may_draw, randn_like

X = torch.linspace(-1, 1, 48).view(3, 4, 4)
WEIGHTS = {
    "linear": lambda: nn.Linear(4, 5),
    "lstm": lambda: nn.LSTM(4, 5, 2),
    "gru": lambda: nn.GRU(4, 5),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8),
    "convolution": lambda: nn.Conv1d(3, 4, 2),
    "embedding": lambda: nn.Embedding(3, 4),
    "critic": lambda: EncodedCritic([3, 2]),
}
DRAWS = {
    "dropout": lambda: nn.Dropout(0.3)(X),
    "in place": lambda: nn.Dropout(0.3, inplace=True)(X.clone()),
    "functional": lambda: functional.dropout(X, 0.2),
    "torch.dropout": lambda: torch.dropout(X, 0.2, True),
    "alpha": lambda: nn.AlphaDropout(0.2)(X),
    "rand_like": lambda: torch.rand_like(X),
    "randn_like": lambda: torch.randn_like(X),
    "own randn_like": lambda: randn_like(X),
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(2, 2),
    "randperm": lambda: torch.randperm(9),
    "randint": lambda: torch.randint(0, 9, (4,)),
    "normal": lambda: torch.normal(torch.zeros(3), torch.ones(3)),
    "bernoulli": lambda: torch.bernoulli(X.abs()),
    "method": lambda: torch.empty(4).exponential_(),
    "gumbel": lambda: functional.gumbel_softmax(X),
    "rrelu": lambda: nn.RReLU()(X),
    "lstm": lambda: nn.LSTM(4, 5, 2, dropout=0.5)(X)[0],
    "attention": lambda: nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)(X, X, X)[0],
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.3, batch_first=True)(X),
    "xavier": lambda: nn.init.xavier_normal_(torch.empty(4, 4)),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    "truncated": lambda: nn.init.trunc_normal_(torch.empty(4, 4)),
}


def drawn(make):
    made = make()
    return [p.detach().clone() for p in made.parameters()] if isinstance(made, nn.Module) else [made.detach().clone()]


@pytest.mark.parametrize("make", [*WEIGHTS.values(), *DRAWS.values()], ids=[*WEIGHTS, *DRAWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws__are_those_of_the_global_generator_with_the_same_seed(make, dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = [*drawn(make), torch.rand(3)]
    state = torch.get_rng_state()
    try:
        torch.set_default_dtype(dtype)
        with drawing_from(RandomStream(7)):
            found = [*drawn(make), torch.rand(3)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_streams_inside_each_other__each_goes_on_where_it_was():
    outer, inner = RandomStream(1), RandomStream(2)
    with drawing_from(outer):
        first = torch.rand(2)
        with drawing_from(inner):
            other = torch.rand(2)
        second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), torch.rand(4, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(other, torch.rand(2, generator=torch.Generator().manual_seed(2)))


def test_a_fork__goes_on_and_is_not_noticed():
    with drawing_from(RandomStream(3)):
        with drawing_from(RandomStream.fork()):
            forked = torch.rand(2)
        assert torch.equal(torch.rand(2), forked)
    with drawing_from(RandomStream.fork()):
        forked = torch.rand(2)
    with torch.random.fork_rng(devices=[]):
        assert torch.equal(torch.rand(2), forked)


def test_an_error__ends_it():
    with pytest.raises(RuntimeError), drawing_from(RandomStream(0)):
        raise RuntimeError
    state = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.rand(1)
        assert not torch.equal(torch.get_rng_state(), state)


def test_without_intercept__only_what_asks_draws_from_it():
    stream = RandomStream(5)
    with torch.random.fork_rng(devices=[]), drawing_from(stream, intercept=False):
        torch.rand(2)
        own = randn_like(X)
    with drawing_from(RandomStream(5)):
        assert torch.equal(torch.randn_like(X), own)


def test_threads__draw_from_their_own():
    found = {}

    def work(seed):
        with drawing_from(RandomStream(seed)):
            found[seed] = torch.cat([functional.dropout(torch.ones(50), 0.5) for _ in range(200)])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, values in found.items():
        work(seed)
        assert torch.equal(found[seed], values)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("module", "draws"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), True),
        (nn.LSTM(2, 2, 2), False),
        (nn.LSTM(2, 2, 2, dropout=0.1), True),
        (nn.TransformerEncoderLayer(4, 2, dropout=0.0), False),
        (nn.TransformerEncoderLayer(4, 2), True),
        (nn.RReLU(), True),
        (nn.Sequential(Noisy()), True),
        (EncodedCritic([2, 2]), False),
        (nn.MSELoss(), False),
    ],
)
def test_may_draw(module, draws):
    assert may_draw(nn.Linear(2, 2), module) is draws


def test_a_stream__can_be_stored_and_copied():
    stream = RandomStream.of(0, 1)
    torch.rand(3, generator=stream.on("cpu"))
    copies = [pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)]
    expected = torch.rand(3, generator=stream.on("cpu"))
    for copied in copies:
        assert_array_equal(np.asarray(torch.rand(3, generator=copied.on("cpu"))), np.asarray(expected))

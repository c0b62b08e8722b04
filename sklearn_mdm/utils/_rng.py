"""Random numbers of a fit's own, for modules that draw them from torch's global generators.

Initial weights and dropout know no other source, and to seed and restore a global generator is seen by every other
thread. Here the functions that draw are given a generator instead, in the calling thread only; a user's own modules are
covered too. Those that take none run one at a time, with the global generators set for as long as they run.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.overrides import TorchFunctionMode

from ._threads import LockOfProcess

_here = threading.local()  # .stream and .mode of the calling thread
_globals = LockOfProcess()


class RandomStream:
    """Generators with one seed, one for each device that numbers are drawn on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generators: dict[str, torch.Generator] = {}

    @classmethod
    def of(cls, *entropy: int) -> RandomStream:
        """Return the stream of a seed and the number of a purpose."""
        return cls(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    @classmethod
    def fork(cls) -> RandomStream:
        """Return a stream that continues the one in use, which does not notice: on the CPU, where modules are built."""
        in_use = getattr(_here, "stream", None)
        running = torch.default_generator if in_use is None else in_use.on("cpu")
        stream = cls(0)
        stream.on("cpu").set_state(running.get_state())
        return stream

    def reseed(self, seed: int) -> None:
        """Begin anew with another seed; the generators stay, since graphs of training steps hold them."""
        self.seed = seed
        for generator in self.generators.values():
            generator.manual_seed(seed)

    def renew(self, device: str, state: Tensor) -> None:
        """Put a new generator in this state in the place of that of a device."""
        self.generators[device] = torch.Generator(device)
        self.generators[device].set_state(state)

    def on(self, device: torch.device | str) -> torch.Generator:
        """Return the generator of a device."""
        key = str(device)
        if key not in self.generators:
            self.generators[key] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[key]


class MemberStreams:
    """A stream for each of several networks that are computed as one; see :mod:`._stacking`."""

    def __init__(self, streams: Sequence[RandomStream]) -> None:
        self.streams = streams


@contextmanager
def drawing_from(stream: RandomStream | MemberStreams, *, intercept: bool = True) -> Iterator[None]:
    """Let torch draw from a stream where it is given no generator, in this thread; floats are float32 by default.

    A look at every function that is called adds a fifth to the time of a small step. Without ``intercept``, only what
    asks for it draws from the stream, such as :func:`randn_like`: enough for modules without :func:`may_draw`.
    """
    before, _here.stream = getattr(_here, "stream", None), stream
    first = intercept and not getattr(_here, "intercepted", False)
    try:
        if first:
            _here.intercepted = True
            with _OwnDraws():
                yield
        else:
            yield
    finally:
        _here.stream = before
        if first:
            _here.intercepted = False


def may_draw(*modules: object) -> bool:
    """Whether these modules may call functions that draw, in training: a user's may, torch's own for dropout."""
    for module in modules:
        for part in module.modules() if isinstance(module, nn.Module) else [module]:
            rates = [getattr(part, name, 0.0) for name in ("p", "dropout")]
            known = type(part).__module__.startswith(_KNOWN) and not isinstance(part, _NOISY)
            if not known or any(isinstance(rate, float) and rate > 0 for rate in rates):
                return True
    return False


_KNOWN = ("torch.nn.", "sklearn_mdm.")
_NOISY = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def randn_like(x: Tensor) -> Tensor:
    """Return normal numbers from the stream in use, or from torch's global generator."""
    return _filled(torch.empty_like(x), Tensor.normal_)


def bernoulli_like(x: Tensor, p: float) -> Tensor:
    """Return ones with probability p, and zeros, from the stream in use, or from torch's global generator."""
    if not _in_bits(x, p):
        return _filled(torch.empty_like(x), Tensor.bernoulli_, p)
    return _below(_filled(_bits_for(x), _random_bits), p, x.dtype)


def _filled(numbers: Tensor, fill: Callable[..., Tensor], *args: float) -> Tensor:
    in_use = getattr(_here, "stream", None)
    if isinstance(in_use, MemberStreams):
        for part, stream in zip(numbers, in_use.streams, strict=True):
            fill(part, *args, generator=stream.on(numbers.device))
        return numbers
    return fill(numbers, *args, generator=None if in_use is None else in_use.on(numbers.device))


# On a CPU torch's own bernoulli_ goes number by number, and took a fifth of the training of a committee with dropout.
# What follows compares the same random bits all at once: the same zeros and ones in half of the time.
_BITS = 53  # of a double between 0 and 1


def _in_bits(x: Tensor, p: float) -> bool:
    return x.device.type == "cpu" and 0 < p < 1


def _bits_for(x: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=torch.int64)


def _random_bits(numbers: Tensor, generator: torch.Generator | None) -> Tensor:
    return numbers.random_(-(2**63), None, generator=generator)


def _below(bits: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """Make ones of what is below p when read as numbers between 0 and 1, and zeros of the others."""
    return (bits.bitwise_and_(2**_BITS - 1) < math.ceil(p * 2**_BITS)).to(dtype)


class _OwnDraws(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        handle = _HANDLE.get(func)
        if handle is None and kwargs and "generator" in kwargs:
            handle = _with_generator  # transformers puts functions of its own in the place of torch.nn.init's
        if handle is not None:
            return handle(_here.stream, func, args, dict(kwargs or {}))
        return func(*args, **kwargs) if kwargs else func(*args)


Draw = Callable[[RandomStream, Callable, tuple, dict[str, Any]], Any]


def _created(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Make a tensor as under torch's default of float32, whatever the default is now."""
    if kwargs.get("dtype") is not None or torch.get_default_dtype() == torch.float32:
        return _DRAW.get(func, _plain)(stream, func, args, kwargs)
    if func in _FLOAT:
        kwargs["dtype"] = torch.float32
    made = _DRAW.get(func, _plain)(stream, func, args, kwargs)
    wanted = made.is_floating_point() and not any(isinstance(value, Tensor | np.ndarray | np.generic) for value in args)
    return made.to(torch.float32) if wanted else made


def _plain(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


def _with_generator(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    if kwargs.get("generator") is None:
        tensors = (value for value in (*args, kwargs.get("tensor")) if isinstance(value, Tensor))
        like = next(tensors, None)
        device = kwargs.get("device") or (torch.get_default_device() if like is None else like.device)
        if torch.device(device).type != "meta":  # where nothing is drawn
            kwargs["generator"] = stream.on(device)
    return func(*args, **kwargs)


def _like(fill: str) -> Draw:
    def draw(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        # Before torch 2.9 rand_like and randn_like take no generator.
        made = torch.empty_like(*args, **kwargs)
        return made if made.is_meta else getattr(made, fill)(generator=stream.on(made.device))

    return draw


def _dropout(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    def drop(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1 or input.is_meta:
            return func(*args, **kwargs)  # which draws nothing
        if _in_bits(input, 1 - p):
            kept = _below(_random_bits(_bits_for(input), stream.on(input.device)), 1 - p, input.dtype).div_(1 - p)
        else:
            kept = torch.empty_like(input).bernoulli_(1 - p, generator=stream.on(input.device)).div_(1 - p)
        return input.mul_(kept) if inplace else input * kept

    if "train" in kwargs:
        kwargs["training"] = kwargs.pop("train")
    return drop(*args, **kwargs)


def _alone(stream: RandomStream, func: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run what takes no generator: alone among ours, on global generators that are put back."""
    if func in _RATED and not any(isinstance(p, float) and p > 0 for p in (*args, *kwargs.values())):
        return func(*args, **kwargs)  # without dropout
    on_gpu = next((str(a.device) for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.is_cuda), None)
    with _globals, torch.random.fork_rng(devices=[] if on_gpu is None else [on_gpu]):
        devices = ["cpu"] if on_gpu is None else ["cpu", on_gpu]
        for device in devices:
            _set_state(device, stream.on(device).get_state())
        try:
            return func(*args, **kwargs)
        finally:
            for device in devices:
                stream.on(device).set_state(_get_state(device))


def _get_state(device: str) -> Tensor:
    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state(device)


def _set_state(device: str, state: Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


def _named(owner: Any, names: str) -> set[Callable]:
    return {getattr(owner, name) for name in names.split() if hasattr(owner, name)}


_FLOAT = _named(torch, "empty zeros ones rand randn eye linspace logspace")
_CREATE = _FLOAT | _named(torch, "tensor full arange range scalar_tensor as_tensor")
# Functions whose dropout rate is an argument.
_RATED = _named(functional, "scaled_dot_product_attention multi_head_attention_forward")
_RATED |= _named(torch._VF, "lstm gru rnn_tanh rnn_relu") | _named(torch, "lstm gru rnn_tanh rnn_relu")
_DRAW: dict[Callable, Draw] = {
    **dict.fromkeys(
        _named(torch, "rand randn randint randperm normal bernoulli multinomial poisson randint_like")
        | _named(
            Tensor,
            "uniform_ normal_ bernoulli bernoulli_ random_ exponential_ geometric_ log_normal_ cauchy_ multinomial",
        )
        | _named(init, "uniform_ normal_ trunc_normal_ kaiming_uniform_ kaiming_normal_ xavier_uniform_ xavier_normal_")
        | _named(init, "orthogonal_ sparse_"),
        _with_generator,
    ),
    torch.rand_like: _like("uniform_"),
    torch.randn_like: _like("normal_"),
    functional.dropout: _dropout,
    torch.dropout: _dropout,
    **dict.fromkeys(
        _RATED
        | _named(
            functional,
            "dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout gumbel_softmax rrelu rrelu_ "
            "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices",
        )
        | _named(torch, "dropout_ feature_dropout alpha_dropout native_dropout rrelu pca_lowrank svd_lowrank"),
        _alone,
    ),
}
_HANDLE = {**_DRAW, **dict.fromkeys(_CREATE, _created)}

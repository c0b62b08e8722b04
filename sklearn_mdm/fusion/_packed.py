"""Recurrences over packed steps, with gradients by hand: an LSTM that keeps its cell states, and a gated memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..encoders._steps import order_of_steps

# Gradient of the input from that of the output and the output itself, in one pass over memory.
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class Packing:
    """Observed steps of a batch, a row each: the first of every sample, then the second of those that have one, ...

    Samples with most steps come first, as in torch's PackedSequence: the samples that go on at a step are the first of
    those at the step before. Nothing is computed for steps that were not observed, and where they are makes no
    difference. ``mask`` (B, T) is None if all were; ``sizes`` holds the number of rows of each step.
    """

    def __init__(self, mask: Tensor | None, n_samples: int, n_steps: int) -> None:
        self.mask = mask
        self.n_samples = n_samples
        self.sizes = [n_samples] * n_steps
        if mask is not None:
            count = mask.sum(1)
            self.order = count.argsort(descending=True, stable=True)
            nth = torch.arange(int(count.max()), device=mask.device)
            going_on = nth.unsqueeze(1) < count[self.order]
            self.sizes = going_on.sum(1).tolist()
            # Column k: the k-th observed step of each sample.
            steps = order_of_steps(mask)[:, : len(nth)]
            self.index = (steps + n_steps * torch.arange(n_samples, device=mask.device).unsqueeze(1))[self.order]
            self.index = self.index.t()[going_on]

    def pack(self, x: Tensor) -> Tensor:
        """Rows (N, d) of the observed steps of x (B, T, d)."""
        if self.mask is None:
            return x.transpose(0, 1).flatten(0, 1)
        return x.flatten(0, 1).index_select(0, self.index)

    def latest(self) -> Tensor:
        """One plus the row of the last observed step up to each step, (B, T); 0 before the first."""
        assert self.mask is not None
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(place), device=place.device)
        starts = torch.tensor([0, 0, *self.sizes], device=place.device).cumsum(0)
        nth = self.mask.cumsum(1)
        return torch.where(nth > 0, starts[nth] + place.unsqueeze(1) + 1, 0)

    def turned(self) -> Tensor:
        """Row of the same sample that is as many steps from its end as each row (N,) is from its beginning."""
        starts = torch.tensor([0, *self.sizes], device=self.index.device).cumsum(0)
        sizes = torch.tensor(self.sizes, device=self.index.device)
        step = torch.arange(len(self.sizes), device=self.index.device).repeat_interleave(sizes)
        place = torch.arange(len(step), device=step.device) - starts[step]
        n_steps = torch.bincount(place)
        return starts[n_steps[place] - 1 - step] + place

    def per_sample(self, last: Tensor) -> Tensor:
        """What the last step left behind, in the order of the batch (B, d): zeros for samples without any step."""
        if self.mask is None:
            return last
        return last.new_zeros(self.n_samples, last.shape[1]).index_copy(0, self.order[: len(last)], last)


def shift(rows: Tensor, sizes: list[int]) -> Tensor:
    """Rows (N, d) of the step before, zero at the first step."""
    first = rows.new_zeros(sum(sizes[:1]), rows.shape[1])
    if len(set(sizes)) <= 1:
        return torch.cat([first, rows[: len(rows) - len(first)]])
    return torch.cat([first, *(step[:n] for step, n in zip(rows.split(sizes), sizes[1:], strict=False))])


class LSTMStates(Function):
    """Last hidden states, all hidden and all cell states of an LSTM over packed steps.

    torch's LSTM keeps its cell states to itself and is slow on packed steps. A loop over ``nn.LSTMCell`` spends half of
    its time on the gradients of the weights, a small product per step; here that is one product over all steps.

    ``apply(x, sizes, weight_ih, weight_hh, bias)`` maps rows (N, d) to last states (n, h), of the n samples that have a
    step, and states (N, h) and (N, h). The weights are those of ``nn.LSTMCell``, the bias is the sum of its two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Any:
        width = weight_hh.shape[1]
        gates = torch.addmm(bias, x, weight_ih.t())
        h, c, tanh_c = (x.new_empty(len(x), width) for _ in range(3))
        last = x.new_empty(sum(sizes[:1]), width)
        recurrent = weight_hh.t()
        steps = _steps(sizes, gates, gates[:, : 2 * width], *gates.chunk(4, dim=1), h, c, tanh_c)
        h_before = c_before = last  # the first step reads neither
        for t, (gate, in_and_forget, i, f, g, o, h_t, c_t, tanh_c_t) in enumerate(steps):
            n = len(gate)
            if t:
                gate.addmm_(h_before[:n], recurrent)
            in_and_forget.sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(i, g, out=c_t)
            if t:
                c_t.addcmul_(f, c_before[:n])
            torch.tanh(c_t, out=tanh_c_t)
            torch.mul(o, tanh_c_t, out=h_t)
            last[:n] = h_t
            h_before, c_before = h_t, c_t
        ctx.save_for_backward(x, weight_ih, weight_hh, gates, h, c, tanh_c)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)  # most callers use two of the three
        return last, h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_last: Tensor | None, d_h: Tensor | None, d_c: Tensor | None) -> Any:
        x, weight_ih, weight_hh, gates, h, c, tanh_c = ctx.saved_tensors
        sizes, width = ctx.sizes, weight_hh.shape[1]
        i, f, g, o = gates.chunk(4, dim=1)
        # Derivatives of c_t by what goes into i, f and g, and of h_t by what goes into o and by c_t.
        d_gates = torch.empty_like(gates)
        di, df, dg, do = d_gates.chunk(4, dim=1)
        sigmoid_backward(g, i, grad_input=di)
        sigmoid_backward(shift(c, sizes), f, grad_input=df)
        tanh_backward(i, g, grad_input=dg)
        sigmoid_backward(tanh_c, o, grad_input=do)
        by_c = torch.ops.aten.tanh_backward(o, tanh_c)
        dc = c.new_zeros(sum(sizes[:1]), width)
        dh = torch.zeros_like(dc) if d_last is None else d_last.clone()
        d_h_steps, d_c_steps = (None if d is None else d.split(sizes) for d in (d_h, d_c))
        steps = _steps(sizes, d_gates, d_gates[:, : 3 * width].unflatten(1, (3, width)), do, f, by_c)
        for t in reversed(range(len(steps))):
            d_gate, d_ifg, d_o, f_t, by_c_t = steps[t]
            n = len(d_gate)
            dh_t, dc_t = dh[:n], dc[:n]
            if d_h_steps is not None:
                dh_t.add_(d_h_steps[t])
            if d_c_steps is not None:
                dc_t.add_(d_c_steps[t])
            dc_t.addcmul_(dh_t, by_c_t)
            d_ifg.mul_(dc_t.unsqueeze(1))
            d_o.mul_(dh_t)
            if t:
                torch.mm(d_gate, weight_hh, out=dh_t)
                dc_t.mul_(f_t)
        d_x = d_gates @ weight_ih if ctx.needs_input_grad[0] else None
        # The other way round is slower for some numbers of features, by up to a half.
        d_weight_ih = (x.t() @ d_gates).t()
        return d_x, None, d_weight_ih, d_gates.t() @ shift(h, sizes), d_gates.sum(0)


class GatedMemory(Function):
    r"""Last state of a memory with a retain and an update gate over packed steps.

    .. math::

       [a_t; b_t] = \epsilon_t \odot \mathrm{relu}(p_t + W u_{t-1}), \qquad
       u_t = \sigma(R a_t + r) \odot u_{t-1} + \sigma(S b_t + s) \odot k_t

    ``apply(p, noise, k, sizes, W, R, r, S, s)`` takes :math:`p_t` and the dropout :math:`\epsilon_t` (or None) as
    (N, a + b), :math:`k_t` as (N, k), and returns (n, k) for the n samples that have a step. Only the loop over this
    recurrence is left of a loop over the whole system; gradients of the weights are one product over all steps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        noise: Tensor | None,
        candidates: Tensor,
        sizes: list[int],
        recall: Tensor,
        retain: Tensor,
        retain_bias: Tensor,
        update: Tensor,
        update_bias: Tensor,
    ) -> Tensor:
        width = retain.shape[1]
        hidden = inputs.clone()
        memory, kept, added = (torch.empty_like(candidates) for _ in range(3))
        last = candidates.new_empty(sum(sizes[:1]), candidates.shape[1])
        parts = hidden[:, :width], hidden[:, width:]
        noise_steps = None if noise is None else noise.split(sizes)
        before = last  # the first step does not read it
        for t, (hidden_t, a, b, k, u, kept_t, added_t) in enumerate(
            _steps(sizes, hidden, *parts, candidates, memory, kept, added)
        ):
            n = len(u)
            if t:
                hidden_t.addmm_(before[:n], recall.t())
            hidden_t.relu_()
            if noise_steps is not None:
                hidden_t.mul_(noise_steps[t])
            torch.addmm(retain_bias, a, retain.t(), out=kept_t).sigmoid_()
            torch.addmm(update_bias, b, update.t(), out=added_t).sigmoid_()
            torch.mul(added_t, k, out=u)
            if t:
                u.addcmul_(kept_t, before[:n])
            last[:n] = u
            before = u
        ctx.save_for_backward(noise, candidates, hidden, memory, kept, added, recall, retain, update)
        ctx.sizes = sizes
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_last: Tensor) -> Any:
        noise, candidates, hidden, memory, kept, added, recall, retain, update = ctx.saved_tensors
        sizes, (width, other), size = ctx.sizes, (retain.shape[1], update.shape[1]), memory.shape[1]
        before = shift(memory, sizes)
        # Derivatives of u_t by what goes into the gates and by the candidate.
        d_parts = torch.empty(len(memory), 3 * size, dtype=memory.dtype, device=memory.device)
        d_kept, d_added, d_candidates = d_parts.chunk(3, dim=1)
        sigmoid_backward(before, kept, grad_input=d_kept)
        sigmoid_backward(candidates, added, grad_input=d_added)
        d_candidates.copy_(added)
        passed = (hidden > 0).to(hidden.dtype)
        if noise is not None:
            passed.mul_(noise)
        d_hidden = torch.empty_like(hidden)
        du = d_last.clone()
        stacked, (d_a, d_b) = d_parts.unflatten(1, (3, size)), d_hidden.split([width, other], dim=1)
        steps = _steps(sizes, stacked, d_kept, d_added, d_hidden, d_a, d_b, passed, kept)
        for t in reversed(range(len(steps))):
            d_part, d_kept_t, d_added_t, d_hidden_t, d_a_t, d_b_t, passed_t, kept_t = steps[t]
            du_t = du[: len(d_part)]
            d_part.mul_(du_t.unsqueeze(1))
            torch.mm(d_kept_t, retain, out=d_a_t)
            torch.mm(d_added_t, update, out=d_b_t)
            d_hidden_t.mul_(passed_t)
            if t:
                du_t.mul_(kept_t).addmm_(d_hidden_t, recall)
        a, b = hidden.split([width, other], dim=1)
        d_gates = d_kept.t() @ a, d_kept.sum(0), d_added.t() @ b, d_added.sum(0)
        return d_hidden, None, d_candidates, None, d_hidden.t() @ before, *d_gates


def _steps(sizes: list[int], *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of the rows of each step."""
    return list(zip(*(tensor.split(sizes) for tensor in tensors), strict=True))

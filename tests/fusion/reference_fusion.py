"""Slow fusion systems in plain numpy, written from the equations of the papers: what the torch modules must equal.

One sample at a time, one time step at a time, one attention head at a time, in float64. Weights come by their role in
the equations: an affine map is a pair ``(W, b)``, a multilayer perceptron a list of such pairs with ReLU between them,
the gates of a recurrent cell a dict of triples ``(W, U, b)``. Nothing here knows the layout of torch.

A step that was not observed is not computed at all: it leaves no trace in any state.
"""

from itertools import product

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def affine(layer, x):
    W, b = layer
    return W @ x + b


def mlp(layers, x):
    for layer in layers[:-1]:
        x = relu(affine(layer, x))
    return affine(layers[-1], x)


def layer_norm(norm, x, eps=1e-5):
    scale, shift = norm
    return (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + eps) * scale + shift


# --- recurrent and attention encoders ------------------------------------------------------------------------------


def lstm_step(gates, x, h, c):
    """Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000)."""
    a = {name: W @ x + U @ h + b for name, (W, U, b) in gates.items()}
    i, f, o = sigmoid(a["i"]), sigmoid(a["f"]), sigmoid(a["o"])
    c = f * c + i * np.tanh(a["g"])
    return o * np.tanh(c), c


def lstm_states(gates, x, observed):
    """State h after each observed step of one sequence (T, d), as a list."""
    h = c = np.zeros(len(gates["i"][2]))
    states = []
    for t in range(len(x)):
        if observed[t]:
            h, c = lstm_step(gates, x[t], h, c)
            states.append(h)
    return states


def gru_step(gates, x, h):
    """Cho et al. (2014), with the reset gate applied after the recurrent product and its bias, as cuDNN has it."""
    a = {name: (W @ x + b_x, U @ h + b_h) for name, (W, U, b_x, b_h) in gates.items()}
    r, u = sigmoid(sum(a["r"])), sigmoid(sum(a["z"]))
    n = np.tanh(a["n"][0] + r * a["n"][1])
    return (1 - u) * n + u * h


def gru_states(gates, x, observed):
    h = np.zeros(len(gates["r"][2]))
    states = []
    for t in range(len(x)):
        if observed[t]:
            h = gru_step(gates, x[t], h)
            states.append(h)
    return states


def run(states_of, directions, steps):
    """Outputs after each step, and after the last, of one recurrent layer over a list of observed steps.

    ``directions`` holds the gates of the way forward, and of the way back if there is one. It reads the steps from the
    last to the first, and its states are put beside those of the way forward.
    """
    seen = [True] * len(steps)
    ways = [states_of(directions[0], steps, seen)]
    last = [ways[0][-1]]
    for gates in directions[1:]:
        back = states_of(gates, steps[::-1], seen)
        ways.append(back[::-1])
        last.append(back[-1])
    return [np.concatenate([way[t] for way in ways]) for t in range(len(steps))], np.concatenate(last)


def last_state(states_of, layers, x, observed):
    """Last state of the top layer of a recurrent encoder; zeros where no step was observed."""
    steps = [x[t] for t in range(len(x)) if observed[t]]
    if not steps:
        return np.zeros(sum(len(next(iter(gates.values()))[2]) for gates in layers[-1]))
    for directions in layers:
        steps, last = run(states_of, directions, steps)
    return last


def mean_state(states_of, layers, x, observed):
    """Mean over the states of the top layer of a recurrent encoder; zeros where no step was observed."""
    steps = [x[t] for t in range(len(x)) if observed[t]]
    if not steps:
        return last_state(states_of, layers, x, observed)
    for directions in layers:
        steps, _ = run(states_of, directions, steps)
    return sum(steps) / len(steps)


def sinusoid(t, d):
    """Position code of step t, Vaswani et al. (2017), section 3.5."""
    position = np.empty(d)
    for i in range(d):
        angle = t / 10000 ** (2 * (i // 2) / d)
        position[i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    return position


def multi_head_attention(heads, out, tokens):
    """Vaswani et al. (2017), equation 1 and section 3.2.2; a head is a dict of the affine maps q, k and v."""
    rows = []
    for token in tokens:
        parts = []
        for head in heads:
            q = affine(head["q"], token)
            scores = np.array([q @ affine(head["k"], other) for other in tokens]) / np.sqrt(len(q))
            weights = softmax(scores)
            parts.append(sum(w * affine(head["v"], other) for w, other in zip(weights, tokens, strict=True)))
        rows.append(affine(out, np.concatenate(parts)))
    return rows


def transformer_layer(layer, tokens, norm_first=False):
    """One encoder layer of Vaswani et al. (2017); ``norm_first`` normalises the input of each part, not its output."""
    if norm_first:
        normed = [layer_norm(layer["norm1"], token) for token in tokens]
        mixed = multi_head_attention(layer["heads"], layer["out"], normed)
        tokens = [token + part for token, part in zip(tokens, mixed, strict=True)]
        return [token + mlp(layer["feedforward"], layer_norm(layer["norm2"], token)) for token in tokens]
    mixed = multi_head_attention(layer["heads"], layer["out"], tokens)
    tokens = [layer_norm(layer["norm1"], token + part) for token, part in zip(tokens, mixed, strict=True)]
    return [layer_norm(layer["norm2"], token + mlp(layer["feedforward"], token)) for token in tokens]


def transformer_representation(roles, x, observed):
    """Mean of the outputs over the observed steps, which alone are tokens and alone are counted by positions."""
    tokens = [affine(roles["embed"], x[t]) for t in range(len(x)) if observed[t]]
    tokens = [token + sinusoid(t, len(token)) for t, token in enumerate(tokens)]
    for layer in roles["layers"]:
        tokens = transformer_layer(layer, tokens, norm_first=True)
    outputs = [layer_norm(roles["norm"], token) for token in tokens]
    return affine(roles["out"], sum(outputs) / len(outputs) if outputs else np.zeros(len(roles["norm"][0])))


def mean_and_std(x, observed):
    """Mean and standard deviation of each feature over the observed steps; 0 and 1 where there is none.

    The deviation is at least 1e-6, since that of a single step, zero, has no gradient.
    """
    steps = np.array([x[t] for t in range(len(x)) if observed[t]])
    if not len(steps):
        return np.concatenate([np.zeros(x.shape[1]), np.ones(x.shape[1])])
    deviation = np.sqrt(((steps - steps.mean(axis=0)) ** 2).mean(axis=0))
    return np.concatenate([steps.mean(axis=0), np.maximum(deviation, 1e-6)])


# --- fusion of representations ---------------------------------------------------------------------------------------


def late_fusion(heads, log_weights, representations, observed):
    """Weighted predictions of the modalities, zero for those that were not observed; the weights add up to one."""
    total = sum(np.exp(a) for a, seen in zip(log_weights, observed, strict=True) if seen)
    return [
        np.exp(a) / total * mlp(head, relu(z)) * seen
        for head, a, z, seen in zip(heads, log_weights, representations, observed, strict=True)
    ]


def outer_product(representations, one="first"):
    """Tensor fusion, Zadeh et al. (2017), equation 2: every product of one entry of each extended representation.

    ``one`` is the place of the constant in it: the paper prints it last, its published code has it first.
    """
    extended = [np.append(1.0, z) if one == "first" else np.append(z, 1.0) for z in representations]
    tensor = np.empty([len(z) for z in extended])
    for index in product(*(range(len(z)) for z in extended)):
        tensor[index] = 1.0
        for z, i in zip(extended, index, strict=True):
            tensor[index] *= z[i]
    return tensor


def low_rank_weight(factors, rank_weights):
    """Low-rank fusion, Liu et al. (2018), equations 3 and 4: the whole weight tensor, from its factors.

    A factor has shape (rank, d + 1, n_out); the tensor has shape (d_1 + 1, ..., d_m + 1, n_out).
    """
    n_out = factors[0].shape[2]
    weight = np.zeros([factor.shape[1] for factor in factors] + [n_out])
    for index in product(*(range(size) for size in weight.shape)):
        for r in range(len(rank_weights)):
            term = rank_weights[r]
            for factor, i in zip(factors, index[:-1], strict=True):
                term *= factor[r, i, index[-1]]
            weight[index] += term
    return weight


def low_rank_fusion(factors, rank_weights, bias, representations, one="first"):
    """Liu et al. (2018), equation 1: the weight tensor times the outer product, plus the bias."""
    weight, tensor = low_rank_weight(factors, rank_weights), outer_product(representations, one)
    fused = np.array(bias, dtype=float)
    for index in product(*(range(size) for size in tensor.shape)):
        for k in range(len(fused)):
            fused[k] += weight[(*index, k)] * tensor[index]
    return fused


# --- fusion step by step -------------------------------------------------------------------------------------------


def early_fusion(layers, x, gaps, observed):
    """Last state of the LSTM on the concatenated modalities, which rests at steps without any of them.

    ``x`` is a list of sequences (T, d_m), ``observed`` a list of booleans (T,), ``gaps`` what the LSTM reads of each
    modality at steps at which another was observed, but it was not.
    """
    n, n_steps = len(x), len(x[0])
    joint = [np.concatenate([x[m][t] if observed[m][t] else gaps[m] for m in range(n)]) for t in range(n_steps)]
    return last_state(lstm_states, layers, joint, [any(seen[t] for seen in observed) for t in range(n_steps)])


def memory_fusion(roles, x, observed):
    """Memory fusion network, Zadeh et al. (AAAI 2018): last state of each LSTM, and the last memory u.

    System of LSTMs: one for each modality, which rests where that modality was not observed. Delta-memory attention: a
    softmax over all entries of [c(t-1); c(t)], which weighs them. Multi-view gated memory: the attended cells propose a
    memory; a retain gate and an update gate, which read the attended cells and the memory of before, mix it with the
    old one. (The equations of the paper have the gates read the attended cells alone; its published code, both.)
    """
    n = len(x)
    h = [np.zeros(len(gates["i"][2])) for gates in roles["lstms"]]
    c = [np.zeros(len(gates["i"][2])) for gates in roles["lstms"]]
    u = np.zeros(len(roles["candidate"][-1][1]))
    for t in range(len(x[0])):
        if not any(observed[m][t] for m in range(n)):
            continue
        before = list(c)
        for m in range(n):
            if observed[m][t]:
                h[m], c[m] = lstm_step(roles["lstms"][m], x[m][t], h[m], c[m])
        window = np.concatenate(before + c)
        attended = softmax(mlp(roles["attention"], window)) * window
        candidate = np.tanh(mlp(roles["candidate"], attended))
        both = np.concatenate([attended, u])
        retain, update = sigmoid(mlp(roles["retain"], both)), sigmoid(mlp(roles["update"], both))
        u = retain * u + update * candidate
    return h, u


def hybrid_memory_step(gates, x, h, c, z):
    """Long short-term hybrid memory of Zadeh et al. (AAAI 2018, MARN): an LSTM whose gates also read z(t-1)."""
    a = {name: W @ x + U @ h + V @ z + b for name, (W, U, V, b) in gates.items()}
    i, f, o = sigmoid(a["i"]), sigmoid(a["f"]), sigmoid(a["o"])
    c = f * c + i * np.tanh(a["g"])
    return o * np.tanh(c), c


def multi_attention_block(roles, h):
    """Multi-attention block of MARN: K softmax attentions over the concatenated states, reduced modality by modality.

    The paper leaves the networks open. ``attention`` has one for each of the K attentions, ``reduce`` one for each
    modality, which ends on a ReLU, and ``map`` takes all that is reduced to the cross-view code.
    """
    joint = np.concatenate(h)
    heads = [softmax(mlp(head, joint)) * joint for head in roles["attention"]]
    reduced, start = [], 0
    for m in range(len(h)):
        stop = start + len(h[m])
        reduced.append(relu(mlp(roles["reduce"][m], np.concatenate([head[start:stop] for head in heads]))))
        start = stop
    return mlp(roles["map"], np.concatenate(reduced))


def multi_attention_fusion(roles, x, gaps, observed):
    """Multi-attention recurrent network: last state of each hybrid memory, and the last cross-view code z.

    ``x`` is what the memories read, a list of (T, d_m); ``gaps`` is as in ``early_fusion``.
    """
    n = len(x)
    h = [np.zeros(len(gates["i"][3])) for gates in roles["cells"]]
    c = [np.zeros(len(gates["i"][3])) for gates in roles["cells"]]
    z = np.zeros(len(roles["map"][-1][1]))
    for t in range(len(x[0])):
        if not any(observed[m][t] for m in range(n)):
            continue
        for m in range(n):
            x_t = x[m][t] if observed[m][t] else gaps[m]
            h[m], c[m] = hybrid_memory_step(roles["cells"][m], x_t, h[m], c[m], z)
        z = multi_attention_block(roles, h)
    return h, z


# --- MISA ----------------------------------------------------------------------------------------------------------


def utterance(roles, x, observed):
    """MISA, Hazarika et al. (2020): last states of two bidirectional LSTMs, with a layer norm between them.

    A sequence without any observed step is read as one step of zeros.
    """
    steps = [x[t] for t in range(len(x)) if observed[t]] or [np.zeros(x.shape[1])]
    outputs, first = run(lstm_states, roles["first"], steps)
    _, second = run(lstm_states, roles["second"], [layer_norm(roles["norm"], output) for output in outputs])
    return np.concatenate([first, second])


def misa_parts(roles, utterances):
    """Projected, private, shared and reconstructed vectors of the modalities of one sample."""
    projected = [
        layer_norm(norm, relu(affine(layer, u)))
        for layer, norm, u in zip(roles["project"], roles["norms"], utterances, strict=True)
    ]
    private = [sigmoid(affine(layer, v)) for layer, v in zip(roles["private"], projected, strict=True)]
    shared = [sigmoid(affine(roles["shared"], v)) for v in projected]
    restored = [affine(layer, p + s) for layer, p, s in zip(roles["decoders"], private, shared, strict=True)]
    return projected, private, shared, restored


def misa_fused(layer, private, shared):
    """The private and the shared vectors as tokens of one transformer layer, put side by side after it."""
    return np.concatenate(transformer_layer(layer, [*private, *shared]))


def central_moment_discrepancy(a, b, n_moments=5):
    """Zellinger et al. (2017), for values in [0, 1]: distances between means and between central moments 2 to K.

    ``a`` and ``b`` are samples of shape (n, d); n may differ.
    """
    total = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    for k in range(2, n_moments + 1):
        difference = np.empty(a.shape[1])
        for j in range(a.shape[1]):
            moment_a = np.mean((a[:, j] - a[:, j].mean()) ** k)
            moment_b = np.mean((b[:, j] - b[:, j].mean()) ** k)
            difference[j] = moment_a - moment_b
        total += np.linalg.norm(difference)
    return total


def overlap(a, b, shortest=1e-4):
    """Difference loss of MISA for a pair: mean squared entry of A'B, of centred samples scaled to length one each.

    What is shorter than ``shortest`` is as good as zero and stays so.
    """
    unit = [np.array([row / max(np.linalg.norm(row), shortest) for row in x - x.mean(axis=0)]) for x in (a, b)]
    total = 0.0
    for i, j in product(range(a.shape[1]), range(b.shape[1])):
        total += sum(unit[0][s, i] * unit[1][s, j] for s in range(len(a))) ** 2
    return total / (a.shape[1] * b.shape[1])


def misa_losses(projected, private, shared, restored, observed):
    """Similarity, difference and reconstruction loss of a batch.

    All but the last argument hold one array (n, d) per modality; ``observed`` holds one (n,). Rows count where the
    modality was observed, and for the difference of two private parts, where both were; modalities and pairs without
    any row are left out.
    """
    n = len(shared)
    pairs = [(m, k) for m in range(n) for k in range(m + 1, n)]
    discrepancies = [
        central_moment_discrepancy(shared[m][observed[m]], shared[k][observed[k]])
        for m, k in pairs
        if observed[m].any() and observed[k].any()
    ]
    similarity = sum(discrepancies) / max(len(discrepancies), 1)
    difference = 0.0
    for m in range(n):
        if observed[m].any():
            difference += overlap(private[m][observed[m]], shared[m][observed[m]])
    for m, k in pairs:
        both = observed[m] & observed[k]
        if both.any():
            difference += overlap(private[m][both], private[k][both])
    errors = [
        np.mean((projected[m][s] - restored[m][s]) ** 2)
        for m in range(n)
        for s in range(len(observed[m]))
        if observed[m][s]
    ]
    return similarity, difference, sum(errors) / len(errors)

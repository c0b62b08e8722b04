"""Several members in an estimator: their folds, what they predict together and out of fold, and their weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ..callbacks._training import OutOfFold
from ..dependency._copies import copies_of
from ..inputs._observed import Observed
from ..inputs._schema import ModalitySchema
from ..net._data import Batch
from ..net._inference import evaluate, fuse, represent
from ..net._member_history import known_mean, known_std
from ..net._net import MDMNet
from ..utils._isolation import isolated
from ._blend import Blend, weighted
from ._blend_fit import fit_blend, model_outputs
from ._critic_imputer import SAMPLES_AT_ONCE, CriticImputer
from ._lam_path import Candidate, compare, default_of, path_frame
from ._members import Folds, Part
from ._samples import Samples

# Samples among which copies are looked for.
MAX_ROWS_COMPARED = 24_000
# What is applied for each group of members, and what makes the batches that it reads.
Groups = Sequence[tuple[Any, Callable[..., Batch]]]

# What was learned from folds that members held out.
OUT_OF_FOLD = ("oof_prediction_", "oof_decision_function_", "oof_score_", "_blend", "blend_weights_")


class CommitteeMixin:
    """Members of a fusion estimator.

    Members of one group read the same inputs. A blend averages groups of networks and models beside them by weights;
    without one, all members have equal weights.
    """

    net_: Any
    imputer_: CriticImputer
    blend_weights_: dict[str, float]
    lam_path_: pd.DataFrame
    missing: Literal["auto", "mean", "token", "skip", "critic"]
    lam: float | Sequence[float] | Literal["auto"]
    _agreement: Any
    _seed: int
    _epochs_run: int
    _seen_by_all: bool
    _schema: ModalitySchema
    _n_members: int
    _scalings: list[Any]
    _folds: Folds
    _blend: Blend

    # -- what the estimator provides ---------------------------------------------------------------------------------

    def _to_batch(self, X: Observed, dtype: torch.dtype, group: int = 0) -> Batch:
        """What a group of the members reads of X."""
        raise NotImplementedError

    def _encode_target(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Targets as the net learns them."""
        raise NotImplementedError

    def _n_net_outputs(self) -> int:
        raise NotImplementedError

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Average runs of the net's outputs, which begin at ``starts``; the weights (n, 1) of a run add up to one."""
        raise NotImplementedError

    def _keep_out_of_fold(self, outputs: np.ndarray, rows: np.ndarray, y: np.ndarray, n_passed: int) -> None:
        """Keep predictions, from outputs (n, n_outputs) for these rows of those passed to fit, and their score."""
        raise NotImplementedError

    # -- members -----------------------------------------------------------------------------------------------------

    def _with_copies(self, samples: Samples) -> Samples:
        """Find copies of samples, which no fold of a committee may cut: what is trained on would be held out, too."""
        if self._n_members == 1 or len(samples.y) > MAX_ROWS_COMPARED or len(self._schema.unscaled):
            return samples
        return replace(samples, copies=copies_of(samples.X.arrays.values(), samples.rows, None).groups)

    def _group_of(self, member: int) -> int:
        """Members of one group read the same inputs; together they hold out every fold."""
        return member // -(-self._n_members // len(self._scalings))

    def _member_nets(self) -> list[MDMNet]:
        return getattr(self.net_, "members_", [self.net_])

    def _groups(self) -> Groups:
        """What is applied for each group of members, and what makes the batches that it reads."""
        if len(self._scalings) == 1:
            return [(self.net_, self._to_batch)]
        members = [[k for k in range(self._n_members) if self._group_of(k) == g] for g in range(len(self._scalings))]
        return [
            (self.net_.part(range(own[0], own[-1] + 1)), functools.partial(self._to_batch, group=group))
            for group, own in enumerate(members)
        ]

    @isolated()
    def _applied(self, X: Observed, output: Literal["prediction", "fused"]) -> np.ndarray:
        """Outputs of the committee for X."""
        if output == "prediction" and hasattr(self, "_blend"):
            weights = self._blend.weights
            used = weights > 0
            outputs = self._outputs_of(X, used)
            if not all(np.isfinite(part).all() for part in outputs):  # others speak in their place
                used = np.ones_like(used)
                outputs = self._outputs_of(X, used)
            return weighted(outputs, weights[used], self._average_outputs)
        groups = [evaluate(net, X, to_batch, output) for net, to_batch in self._groups()]
        return np.concatenate(groups, axis=1) if output == "fused" else self._blended(groups, X)

    def _outputs_of(self, X: Observed, used: np.ndarray) -> list[np.ndarray]:
        """Outputs for X of groups of networks, then of models beside them, of all of these that are used."""
        groups = self._groups()
        models = [name for name, use in zip(self._blend.models, used[len(groups) :], strict=True) if use]
        # The models read what the first group reads.
        beside = functools.partial(self._blend.outputs, wanted=models) if models and used[0] else None
        outputs = [
            evaluate(net, X, to_batch, "prediction", beside=None if group else beside)
            for group, (net, to_batch) in enumerate(groups)
            if used[group]
        ]
        if beside is None:
            return [*outputs, *model_outputs(self, self._blend, X, models)] if models else outputs
        first, *rest = np.split(outputs[0], 1 + len(models), axis=1)
        return [first, *outputs[1:], *rest]

    def _represented(
        self, X: Observed, rows: np.ndarray | None = None, groups: Groups | None = None
    ) -> list[np.ndarray]:
        """Representations of X, or of some rows of it, those of all members, or members of groups, side by side."""
        z = [represent(net, X, to_batch, rows) for net, to_batch in groups or self._groups()]
        return [np.concatenate(parts, axis=1) for parts in zip(*z, strict=True)] if len(z) > 1 else z[0]

    def _fuses(self) -> bool:
        """Whether predictions are made from representations alone."""
        return hasattr(self._member_nets()[0].fusion_module_, "from_representations")

    @isolated()  # once for all parts: to change numbers of threads takes longer than some of these
    def _completed(
        self, X: Observed, output: Literal["prediction", "fused"], average: Callable[..., np.ndarray]
    ) -> np.ndarray:
        """Outputs of the committee for X; samples that lack a modality are completed, where a critic says with what."""
        if self.missing not in ("auto", "critic") or not hasattr(self, "imputer_") or X.complete.all():
            return self._applied(X, output)
        rows = [np.flatnonzero(X.complete)]
        values = [self._applied(X.take(rows[0]), output)] if len(rows[0]) else []
        for lacking, part, groups in self._over_draws(X, range(self._n_members), self._groups(), output, average):
            rows.append(lacking)
            values.append(
                np.concatenate(groups, axis=1) if output == "fused" else self._blended(groups, part, completed=True)
            )
        return np.concatenate(values)[np.concatenate(rows).argsort()]

    def _over_draws(
        self,
        X: Observed,
        members: Sequence[int],
        groups: Groups,
        output: Literal["prediction", "fused"],
        average: Callable[..., np.ndarray],
    ) -> Iterator[tuple[np.ndarray, Observed, list[np.ndarray]]]:
        """Average outputs for samples that lack a modality over what these may be completed to.

        ``groups`` are those of the members. Yields positions in X, the samples there, and the averages of each group.
        """
        lacking, imputer = np.flatnonzero(~X.complete), self.imputer_
        for found, completion in imputer.patterns(X.rows[lacking], members):
            for start in range(0, len(found), SAMPLES_AT_ONCE):
                rows = lacking[found[start : start + SAMPLES_AT_ONCE]]
                part = X.take(rows).loaded()
                z = self._represented(part, None, groups)
                if imputer.X is None:
                    z, weights, starts = completion.representations(z)
                    ends = np.cumsum([list(net.fusion_module_.code_dims.values()) for net, _ in groups], axis=0)[:-1]
                    own = zip(*(np.split(part, at, axis=1) for part, at in zip(z, ends.T, strict=True)), strict=True)
                    outputs = [fuse(net, columns, output) for (net, _), columns in zip(groups, own, strict=True)]
                else:
                    whole, weights, starts = completion.samples(z, part)
                    outputs = [evaluate(net, whole, to_batch, output) for net, to_batch in groups]
                yield rows, part, [average(values, weights, starts) for values in outputs]

    def _blended(self, groups: list[np.ndarray], X: Observed, *, completed: bool = False) -> np.ndarray:
        """Outputs for X of everything that predicts, averaged, given those of the groups of networks."""
        if not hasattr(self, "_blend"):
            if len(groups) == 1:
                return groups[0]
            return weighted(groups, np.full(len(groups), 1 / len(groups)), self._average_outputs)
        weights = self._blend.weights_of_completed if completed else self._blend.weights
        return weighted([*groups, *model_outputs(self, self._blend, X)], weights, self._average_outputs)

    def _averages_of_groups(self, outputs: list[Any], rows: list[np.ndarray], n_samples: int) -> list[np.ndarray]:
        """Averages (n_samples, n_outputs) over the members of each group, from the outputs of each for some rows.

        NaN in rows for which no member of the group has any.
        """
        averages = []
        for group in range(len(self._scalings)):
            own = [k for k in range(self._n_members) if self._group_of(k) == group]
            at = np.concatenate([rows[k] for k in own])
            order = np.argsort(at, kind="stable")
            found, starts, counts = np.unique(at[order], return_index=True, return_counts=True)
            share = np.repeat(1 / counts, counts)[:, None]
            average = np.full((n_samples, self._n_net_outputs()), np.nan)
            average[found] = self._average_outputs(np.concatenate([outputs[k] for k in own])[order], share, starts)
            averages.append(average)
        return averages

    def _keepers(self, parts: list[Part], n_candidates: int) -> list[OutOfFold]:
        """What keeps the predictions of samples held out, for each candidate: where it is asked for."""
        valid = [part.valid for part in parts]
        if valid[0] is None or not (self._has_folds() or n_candidates > 1):
            return []
        # What all members hold out has one half, so that no member's epoch is chosen by what it is to predict.
        halves = [self._half_of(k if self._has_folds() else 0, samples) for k, samples in enumerate(valid)]
        return [OutOfFold(halves, range(c, n_candidates * len(parts), n_candidates)) for c in range(n_candidates)]

    def _compared(self, samples: Samples, parts: list[Part]) -> Samples | None:
        """Samples that candidates are compared on: held out by some member, or passed as ``X_val``."""
        valid = [part.valid for part in parts if part.valid is not None]
        if not valid or not self._has_folds():
            return valid[0] if valid else None
        return samples.take(np.unique(np.concatenate([part.rows for part in valid])))

    def _choose(
        self,
        candidates: list[Candidate],
        outputs: list[list[np.ndarray | None]],
        samples: Samples,
        parts: list[Part],
    ) -> int:
        """Choose a candidate by the loss of what its networks predict for samples held out, and keep its members.

        ``outputs`` are those of the members of each candidate, None if training did not get that far.
        """
        n, found = len(candidates), None
        last = [member.history[-1].get("train_dependency", math.nan) for member in self._member_nets()]
        dependency = [(known_mean(last[c::n]), known_std(last[c::n])) for c in range(n)]
        compared = self._compared(samples, parts)
        if compared is not None and all(part is not None for each in outputs for part in each):
            rows = [part.valid.rows for part in parts if part.valid is not None]
            y = torch.as_tensor(self._encode_target(compared.y, np.float64))
            even = np.full(len(self._scalings), 1 / len(self._scalings))
            losses = []
            for of_members in outputs:
                groups = self._averages_of_groups(of_members, rows, 1 + compared.rows.max())
                values = weighted(groups, even, self._average_outputs)[compared.rows]
                losses.append(self.net_.criterion_(torch.as_tensor(values), y).reshape(len(y), -1).mean(1).numpy())
            found = compare(np.stack(losses), compared.weight, compared.units)
        if found is None:
            default = default_of(self.lam, self._agreement)
            chosen = candidates.index(default) if default in candidates else 0
        else:
            chosen, self.lam_path_ = found.chosen, path_frame(candidates, found, dependency)
        self.net_.keep(range(chosen, n * self._n_members, n))
        # They hold what the others predicted.
        self.net_.callbacks = [each for each in self.net_.callbacks if not isinstance(each, OutOfFold)]
        self.net_.callbacks_ = [each for each in self.net_.callbacks_ if not isinstance(each[1], OutOfFold)]
        self._epochs_run = len(self.net_.history)
        return chosen

    def _fit_blend(
        self, samples: Samples, parts: list[Part], out_of_fold: list[np.ndarray] | None, completed: np.ndarray
    ) -> None:
        for name in ("_blend", "blend_weights_"):
            self.__dict__.pop(name, None)
        blend = fit_blend(self, samples, parts, out_of_fold, completed)
        if blend is not None:
            self._blend = blend
            names = [*map(str, self._scalings), *blend.models]
            self.blend_weights_ = dict(zip(names, blend.weights.tolist(), strict=True))

    def _has_folds(self) -> bool:
        """Whether every member holds out a fold."""
        return self._n_members > 1 and hasattr(self, "_folds")

    def _half_of(self, member: int, samples: Samples | None) -> np.ndarray:
        """Halve a fold at random, or its groups: bool (n_rows,)."""
        assert samples is not None
        units = np.arange(len(samples.y)) if samples.units is None else samples.units
        unit = np.unique(units, return_inverse=True)[1]
        # Folds of a single group are in one half or the other.
        return ((np.random.default_rng(self._seed).permutation(unit.max() + 1) + member) % 2 == 1)[unit]

    def _predict_out_of_fold(self, samples: Samples, parts: list[Part]) -> None:
        """Predict each sample by the members that held it out; weigh them, and the models beside them, by how well."""
        kept = self.__dict__.pop("_held_out_outputs", [None])
        if not self._has_folds() or self._seen_by_all or any(outputs is None for outputs in kept):
            self._fit_blend(samples, parts, None, np.zeros(len(samples.y), dtype=bool))
            return
        for k, (part, outputs) in enumerate(zip(parts, kept, strict=True)):
            assert part.valid is not None
            lacking = np.flatnonzero(~part.valid.complete)
            if len(lacking) and hasattr(self, "imputer_"):  # which stopping did not know of
                X = part.valid.X.take(part.valid.rows[lacking])
                own: Groups = [(self._member_nets()[k], functools.partial(self._to_batch, group=self._group_of(k)))]
                # Its own critic says so: others have seen these samples.
                for at, _, averages in self._over_draws(X, [k], own, "prediction", self._average_outputs):
                    outputs[lacking[at]] = averages[0]
        rows = [part.valid.rows for part in parts if part.valid is not None]
        groups = self._averages_of_groups(kept, rows, len(samples.y))
        completed = ~samples.complete & hasattr(self, "imputer_")
        self._fit_blend(samples, parts, groups, completed)
        values = groups[0]
        if hasattr(self, "_blend"):
            every = [*groups, *(model.oof for model in self._blend.models.values())]
            values = weighted(every, self._blend.weights, self._average_outputs)
            if completed.any():
                some = [each[completed] for each in every]
                values[completed] = weighted(some, self._blend.weights_of_completed, self._average_outputs)
        known = np.flatnonzero(np.isfinite(values).all(axis=1))
        self._keep_out_of_fold(values[known], samples.passed[known], samples.y[known], samples.n_passed)

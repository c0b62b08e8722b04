"""What both estimators share: reading X, building the net, training it, and applying it."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, is_classifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from skorch.callbacks import PrintLog
from skorch.helper import predefined_split

from ..callbacks import EarlyStopping, EpochProgress, ForgetBatches
from ..encoders._modality_encoders import ENCODERS, per_modality
from ..fusion import FUSIONS
from ..fusion._check import build_module
from ..inputs._observed import complete_rows, observed_rows
from ..inputs._schema import ModalitySchema
from ..measures import MEASURES
from ..net._data import MaskedDataset
from ..net._inference import predict_and_fuse
from ..net._net import MDMNet
from ..utils._parameter_objects import check_nested, resolve_component, users_names
from ..utils._splits import stopping_split
from ..utils._threads import one_thread_if_small
from ._critic_imputer import CriticImputer
from ._dependency_mixin import DependencyMixin, read_groups

__all__: list[str] = []

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
REGISTRIES: dict[str, Mapping[str, type]] = {"fusion": FUSIONS, "encoder": ENCODERS, "measure": MEASURES}
# With fewer samples, early_stopping="auto" keeps them all for training.
EARLY_STOPPING_SAMPLES = 100


class BaseMDMFusion(DependencyMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Template of the fusion estimators; subclasses say what y is and what the net's output means."""

    _parameter_constraints: ClassVar[dict] = {
        "fusion": "no_validation",
        "encoder": "no_validation",
        "measure": "no_validation",
        "lam": [Interval(Real, 0, None, closed="left")],
        "unroll": [Interval(Integral, 1, None, closed="left")],
        "modalities": [Mapping, None],
        "missing": [StrOptions({"mean", "token", "skip", "critic"})],
        "modality_dropout": [Interval(Real, 0, 1, closed="left")],
        "critic_hidden_dims": ["array-like"],
        "critic_lr": [Interval(Real, 0, None, closed="neither")],
        "n_negatives": [Interval(Integral, 1, None, closed="left")],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # GridSearchCV.fit(..., groups=g) reaches the stopping split without a set_fit_request.
    __metadata_request__fit: ClassVar[dict] = {"groups": True}

    # -- what subclasses fill in -------------------------------------------------------------------------------------

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> np.ndarray:
        """Validate y and keep the given rows of it; learn its layout on reset."""
        raise NotImplementedError

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Learn what is needed to encode the target from the training rows."""

    def _encode_target(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        raise NotImplementedError

    def _criterion(self) -> torch.nn.Module:
        raise NotImplementedError

    def _n_net_outputs(self) -> int:
        raise NotImplementedError

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Average runs of the net's outputs, which begin at ``starts``; the weights (n, 1) of a run add up to one."""
        raise NotImplementedError

    def _target_weight(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """Combine sample weights with what the target asks for."""
        return sample_weight

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        return None

    # -- parameters --------------------------------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Any:
        """Set parameters; ``fusion__...``, ``encoder__...`` and ``measure__...`` reach into objects.

        Raises
        ------
        ValueError
            If a nested parameter is set while its parent is a name; the message says which object to pass.
        """
        check_nested(self, params, REGISTRIES)
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.three_d_array = True  # as a modality in a dict
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        classes: Any = None,
        reset: bool,
        one_epoch: bool = False,
    ) -> Any:
        self._validate_params()
        if reset:
            # A fit that fails must not leave a net that belongs to other data.
            for name in ("net_", "reporting_critic_", "imputer_", "_n_features_out"):
                self.__dict__.pop(name, None)
            # A fusion that reads texts brings what turns them into arrays. (A class is rejected later.)
            reader = None if isinstance(self.fusion, type) else getattr(self.fusion, "schema", None)
            schema = ModalitySchema() if reader is None else reader()
            arrays = schema.fit_read(self, X, self.modalities, min_samples=2)
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        else:
            schema = self._schema
            arrays = schema.read(self, X)
        n_samples = len(next(iter(arrays.values())))
        weight = self._read_weight(sample_weight, n_samples)
        groups = read_groups(groups, n_samples)
        used = None
        if weight is not None and not weight.all():
            used = weight > 0
            arrays = {name: array[used] for name, array in arrays.items()}
            weight, groups = weight[used], None if groups is None else groups[used]
            if reset and len(weight) < 2:
                raise ValueError("only 1 sample has a positive sample_weight, while a minimum of 2 is required.")
        y = self._read_target(y, n_samples, rows=used, reset=reset, classes=classes)
        weight = self._target_weight(y, weight)
        if reset:
            # Weights keep their meaning from one partial_fit to the next.
            self._weight_scale = 1.0 if weight is None else float(weight.mean())
        train_groups, valid_groups = groups, None

        if (X_val is None) != (y_val is None):
            given, other = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(f"{given} was passed without {other}; stopping needs both.")
        if X_val is not None:
            arrays_val = schema.read(self, X_val)
            y_val = self._read_target(y_val, len(next(iter(arrays_val.values()))), reset=False)
            valid = arrays_val, y_val, self._target_weight(y_val, None)
            train = arrays, y, weight
        elif not one_epoch and self._wants_split(len(y)):
            rows, held_out = stopping_split(
                len(y), self.validation_fraction, self._seed, groups=groups, stratify=self._stratify(y)
            )
            train, valid = _take(arrays, y, weight, rows), _take(arrays, y, weight, held_out)
            if groups is not None:
                train_groups, valid_groups = groups[rows], groups[held_out]
        else:
            train, valid = (arrays, y, weight), None

        if reset:
            self._fit_scaling(schema, *train)
            with self._seeded(0):
                self.net_ = self._build_net(schema, train[0])
            self._schema = schema
            self.modalities_ = list(schema.names)
        self._warn_single_modality(schema)
        before = None if reset else self._net_state()
        try:
            with users_names(schema.names):
                train = self._prepared(train[0]), *train[1:]
                valid = valid and (self._prepared(valid[0]), *valid[1:])
                self._train(train, valid, one_epoch=one_epoch)
        except BaseException as error:
            if before is None:
                self.__dict__.pop("net_", None)
            elif not isinstance(error, KeyboardInterrupt):
                self._restore_net(before)  # one bad batch must not cost what was learned before
            raise
        if reset or not one_epoch:  # once for a stream of small batches
            self._warn_idle_term(train[0])
        # The critic of an earlier net reads codes that are no longer made. One epoch on a batch pays for no new one.
        self.__dict__.pop("reporting_critic_", None)
        self.__dict__.pop("imputer_", None)
        if self.lam > 0 and len(self.modalities_) > 1 and not one_epoch:
            updates = sum(row.get("train_batch_count", 0) for row in self.history_[-self._epochs_run :])
            # Without encoders, a fifth as many updates as the model had were measured at a tenth of the fit's cost; in
            # fits of a few epochs the fixed cost of calibration brings that near a quarter.
            self._fit_reporting_critic(train[0], valid and valid[0], train_groups, valid_groups, n_updates=updates // 5)
        return self

    def _read_weight(self, sample_weight: Any, n: int) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64)
        if (weight < 0).any():
            raise ValueError(f"sample_weight has {int((weight < 0).sum())} negative values; weights must be >= 0.")
        if not weight.any():
            raise ValueError("every sample_weight is zero: there is nothing to fit.")
        return weight

    def _wants_split(self, n_samples: int) -> bool:
        if self.early_stopping == "auto":
            return n_samples >= EARLY_STOPPING_SAMPLES
        return bool(self.early_stopping)

    def _fit_scaling(self, schema: ModalitySchema, arrays: dict, y: np.ndarray, weight: np.ndarray | None) -> None:
        self.scalers_ = {}
        for name in schema.names:
            array = arrays[name]
            if not observed_rows(array).any():
                raise ValueError(
                    f"modality {name!r} is observed in none of the {len(y)} samples that are left to train on, without "
                    "those of zero weight and those that are held out for stopping. Leave it out, or pass X_val and "
                    "y_val or early_stopping=False."
                )
            if not self.standardize or name in schema.unscaled:
                continue
            row_weight = None if weight is None else np.repeat(weight, array.shape[1] if array.ndim == 3 else 1)
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().fit(array.reshape(-1, array.shape[-1]), sample_weight=row_weight)
            if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.var_).all()):
                raise ValueError(f"modality {name!r} has values too large to standardise. Rescale or clip them.")
            # Arrays inside, whatever sklearn.set_config(transform_output=...) says.
            self.scalers_[name] = scaler.set_output(transform="default")
        self._fit_target(y, weight)

    def _scaled(self, arrays: Mapping[Hashable, np.ndarray]) -> dict[str, np.ndarray]:
        """Standardise, and rename the modalities for torch, which rejects names such as "keys" or "a.b"."""
        scaled = {}
        for i, name in enumerate(self._schema.names):
            array = scaled[f"m{i}"] = arrays[name]
            if name in self.scalers_:
                with np.errstate(over="ignore", invalid="ignore"):
                    rows = self.scalers_[name].transform(array.reshape(-1, array.shape[-1]))
                scaled[f"m{i}"] = rows.reshape(array.shape)
                if np.isinf(rows).any():
                    raise ValueError(
                        f"modality {name!r} has values too large for the scale of the data passed to fit. Check its "
                        "units, or clip it."
                    )
        return scaled

    def _prepared(self, arrays: dict[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
        """Let the module compute once what training does not change, such as the states of a frozen backbone."""
        prepare = getattr(self.net_.module_, "prepare", None)
        if prepare is None:
            return arrays
        prepared = prepare({f"m{i}": arrays[name] for i, name in enumerate(self._schema.names)})
        return dict(zip(self._schema.names, prepared.values(), strict=True))

    def _resolve_device(self) -> str:
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return str(torch.device(self.device))
        except RuntimeError as error:
            raise ValueError(f'device={self.device!r} is not known; use "auto", "cpu", "cuda" or "cuda:1".') from error

    def _build_net(self, schema: ModalitySchema, arrays: Mapping[Hashable, np.ndarray]) -> MDMNet:
        device = self._resolve_device()
        fusion = resolve_component("fusion", self.fusion, FUSIONS, "build")
        measure = resolve_component("measure", self.measure, MEASURES, "value")
        if measure.needs_y and not is_classifier(self):
            others = sorted(name for name, other in MEASURES.items() if not other.needs_y)
            raise ValueError(
                f"measure={self.measure!r} reads class labels, which a {type(self).__name__} does not have. Use one of "
                f"{others}, or MDMFusionClassifier."
            )
        has_critic = len(schema.names) > 1 and not measure.needs_y
        double = device == "cpu" and next(iter(arrays.values())).dtype == np.float64
        double = double and not getattr(fusion, "single_precision", False)
        optimizer: Any = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        if optimizer is torch.optim.LBFGS:
            raise ValueError(
                "optimizer=LBFGS evaluates a loss several times per step, which mini-batches do not allow."
            )
        accepted = inspect.signature(optimizer).parameters
        options: dict[str, Any] = {}
        if "weight_decay" in accepted:
            options["optimizer__weight_decay"] = self.weight_decay
        if hasattr(fusion, "param_groups"):
            options["optimizer__param_groups"] = fusion.param_groups()
        if "names" in inspect.signature(fusion.build).parameters:
            options["module__names"] = {f"m{i}": name for i, name in enumerate(schema.names)}
        if has_critic:
            options["critic__hidden_dims"] = tuple(self.critic_hidden_dims)
            options["optimizer_critic__lr"] = self.critic_lr
        if device.partition(":")[0] in ("cpu", "cuda"):
            # One kernel for all parameters instead of several for each.
            if has_critic:
                options["optimizer_critic__fused"] = True
            if "fused" in accepted:
                options["optimizer__fused"] = True
        # The net builds the module: an instance passed as a parameter would stay on the GPU in a pickle.
        net = MDMNet(
            functools.partial(build_module, fusion),
            self._criterion(),
            module__shapes={f"m{i}": arrays[name].shape[1:] for i, name in enumerate(schema.names)},
            module__n_outputs=self._n_net_outputs(),
            module__encoder=per_modality(self.encoder, schema.names),
            module__missing="mean" if self.missing == "critic" else self.missing,
            measure=measure,
            lam=self.lam,
            unroll=self.unroll,
            n_negatives=self.n_negatives,
            modality_dropout=self.modality_dropout,
            optimizer=optimizer,
            lr=self.lr,
            batch_size=self.batch_size,
            random_state=self._seed,
            dtype=torch.float64 if double else torch.float32,
            device=device,
            **options,
        )
        with users_names(schema.names):
            return net.initialize()

    def _train(self, train: tuple, valid: tuple | None, *, one_epoch: bool) -> None:
        net = self.net_
        epochs = 1 if one_epoch else self.max_epochs
        callbacks = [*(copy.deepcopy(self.callbacks) or []), ForgetBatches]
        if not one_epoch:
            stops = valid is not None and self.early_stopping is not False
            callbacks.append(
                EarlyStopping(
                    # Of the standardised targets, so that their units do not decide when to stop.
                    monitor="valid_loss" if stops else "train_scaled_task_loss",
                    patience=self.n_iter_no_change,
                    threshold=self.tol,
                    load_best=stops,
                )
            )
            if self.verbose == 1:
                callbacks.append(EpochProgress(epochs, type(self).__name__))
        net.callbacks = callbacks
        net.verbose = int(self.verbose > 1)
        net.callbacks__print_log = PrintLog() if net.verbose else None
        net.initialize_callbacks()
        # A warm start may come with other values.
        net.set_params(
            max_epochs=epochs,
            lam=self.lam,
            unroll=self.unroll,
            n_negatives=self.n_negatives,
            modality_dropout=self.modality_dropout,
            batch_size=self.batch_size,
            accumulate=1,  # unless a callback says otherwise
        )
        for group in net.optimizer_.param_groups:
            group["lr"] = group.get("own_lr", self.lr)
            if "weight_decay" in group:
                group["weight_decay"] = self.weight_decay
        for group in net.optimizer_critic_.param_groups if hasattr(net, "optimizer_critic_") else ():
            group["lr"] = self.critic_lr
        done = len(net.history)
        net.train_split = None if valid is None else predefined_split(self._dataset(*valid))
        try:
            with self._seeded(1 + done), self._threads(train[0]):
                net.partial_fit(self._dataset(*train))
        except BaseException:
            net.end_training()
            net.callbacks = []  # a progress bar is still open in them, for one
            net.initialize_callbacks()
            raise
        finally:
            net.train_split = None  # it holds the validation data
        self._epochs_run = len(net.history) - done
        finished = self._epochs_run == epochs and "train_task_loss" in net.history[-1]
        if not finished and not net.stopped_:
            raise KeyboardInterrupt("training was interrupted")  # skorch swallows it
        self._summarize(train[0])

    def _net_state(self) -> dict[str, Any]:
        net = self.net_
        parts = [name + "_" for name in net._modules + net._optimizers]
        return {part: copy.deepcopy(getattr(net, part).state_dict()) for part in parts} | {"epochs": len(net.history)}

    def _restore_net(self, state: dict[str, Any]) -> None:
        del self.net_.history[state.pop("epochs") :]
        for part, value in state.items():
            getattr(self.net_, part).load_state_dict(value)

    def _dataset(self, arrays: dict, y: np.ndarray, weight: np.ndarray | None) -> MaskedDataset:
        if weight is not None:
            weight = weight / self._weight_scale
        dtype = self.net_.dtype
        y = self._encode_target(y, np.float64 if dtype == torch.float64 else np.float32)
        return MaskedDataset(self._scaled(arrays), y, weight, dtype=dtype)

    def _summarize(self, arrays: dict) -> None:
        """Set the attributes that describe the training, and see that its last update left a usable net."""
        net = self.net_
        some = {name: array[:100] for name, array in arrays.items()}
        prediction, fused = predict_and_fuse(net, self._scaled(some))
        parameters = (parameter for _, parameter in net.get_all_learnable_params())
        if not np.isfinite(prediction).all() or not all(torch.isfinite(parameter).all() for parameter in parameters):
            raise FloatingPointError(
                f"non-finite predictions or parameters after epoch {len(net.history)}. Try a smaller lr or critic_lr."
            )
        self._n_features_out = fused.shape[1]
        for module in (net.module_, getattr(net, "critic_", None)):
            if module is not None:
                module.zero_grad(set_to_none=True)
        self.history_ = net.history
        self.loss_curve_ = [float(row.get("train_task_loss", math.nan)) for row in net.history]
        self.validation_loss_curve_ = [float(row.get("valid_task_loss", math.nan)) for row in net.history]
        self.dependency_curve_ = [float(row.get("train_dependency", math.nan)) for row in net.history]
        self.n_iter_ = len(net.history)

    def _threads(self, arrays: Mapping[Hashable, np.ndarray]) -> AbstractContextManager:
        n_steps = max(array.shape[1] if array.ndim == 3 else 1 for array in arrays.values())
        return one_thread_if_small([self.net_.module_], self.batch_size * n_steps)

    @contextmanager
    def _seeded(self, stream: int) -> Iterator[None]:
        """Seed torch's global generators inside, and leave them as they were outside."""
        device = torch.device(self._resolve_device())
        cuda = [device if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
        seed = int(np.random.SeedSequence([self._seed, stream]).generate_state(1)[0])
        with torch.random.fork_rng(devices=cuda):
            torch.default_generator.manual_seed(seed)
            if cuda:
                with torch.cuda.device(cuda[0]):
                    torch.cuda.manual_seed(seed)
            yield

    # -- applying ----------------------------------------------------------------------------------------------------

    def _apply(self, X: Any) -> tuple[np.ndarray, np.ndarray, np.dtype]:
        check_is_fitted(self, "net_")
        arrays = self._prepared(self._schema.read(self, X))
        dtype = next(iter(arrays.values())).dtype
        scaled = self._scaled(arrays)
        with users_names(self._schema.names):
            if self.missing == "critic" and not (complete := complete_rows(arrays)).all():
                imputer = self._imputer(complete)
                prediction, fused = imputer.predict_and_fuse(self.net_, scaled, complete, self._average_outputs)
            else:
                prediction, fused = predict_and_fuse(self.net_, scaled)
        finite = np.isfinite(prediction).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the predictions of {int((~finite).sum())} samples are not finite (first: sample "
                f"{int(np.argmin(finite))}): their values are too far from those of the data passed to fit."
            )
        return prediction, fused, dtype

    def _imputer(self, complete: np.ndarray) -> CriticImputer:
        if not hasattr(self, "imputer_"):
            raise ValueError(
                f"{int((~complete).sum())} of {len(complete)} samples lack a modality, and there is no critic, or no "
                'training sample, for missing="critic" to complete them with. fit provides both with this setting, '
                "lam > 0 and enough samples that have every modality; partial_fit never does. Call fit_dependency(X) "
                'with training data first, or set_params(missing="mean").'
            )
        return self.imputer_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def transform(self, X: Any) -> np.ndarray:
        """Return the fused representation of the samples.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples, in any form accepted by ``fit``; modalities may be absent, None or NaN.

        Returns
        -------
        fused : array of shape (n_samples, n_fused)
        """
        _, fused, dtype = self._apply(X)
        return fused.astype(dtype, copy=False)


def _take(arrays: dict, y: np.ndarray, weight: np.ndarray | None, rows: np.ndarray) -> tuple:
    return {name: array[rows] for name, array in arrays.items()}, y[rows], None if weight is None else weight[rows]

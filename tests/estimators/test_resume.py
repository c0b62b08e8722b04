"""A fit that was interrupted, and is begun again, equals one that never was, bit for bit."""

import json
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal, assert_equal

import sklearn_mdm
from sklearn_mdm.callbacks import ResumableCheckpoint
from sklearn_mdm.callbacks import _checked_file as checked_file
from sklearn_mdm.exceptions import CheckpointWarning

from . import interrupted_fits as fits
from .interrupted_fits import CASES, Kill, Killed, data_of, model_of

pytestmark = pytest.mark.usefixtures("quick_reports")

NO_MATTER = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.fixture(scope="module")
def uninterrupted():
    """The fit of each case without a checkpoint, made once."""
    known = {}

    def fitted(case, **changed):
        key = case, str(changed)
        if key not in known:
            known[key] = pickle.dumps(model_of(case, **changed).fit(*data_of(case)))
        return pickle.loads(known[key])

    return fitted


def interrupted(case, path, *callbacks, **changed):
    with pytest.raises(Killed):
        model_of(case, path, *callbacks, **changed).fit(*data_of(case))


def without_durations(history):
    return [{key: value for key, value in row.items() if key != "dur"} for row in history]


def assert_same(model, other, case):
    """Everything that a fit leaves, and what training makes of it later, is the same."""
    X, y = data_of(case)
    assert_equal(without_durations(model.history_), without_durations(other.history_))
    assert model.n_iter_ == other.n_iter_ and model.lam_ == other.lam_
    assert_array_equal(model.predict(X), other.predict(X))
    assert_array_equal(model.transform(X), other.transform(X))
    for name in ("oof_prediction_", "oof_decision_function_"):
        assert_equal(getattr(model, name, None), getattr(other, name, None))
    if hasattr(other, "lam_path_"):
        assert model.lam_path_.equals(other.lam_path_)
    assert hasattr(model, "reporting_critic_") == hasattr(other, "reporting_critic_")
    if hasattr(other, "reporting_critic_"):
        assert_equal(model.pointwise_dependency(X), other.pointwise_dependency(X))
    # The optimizers, too, are where they would be.
    later = [each.set_params(callbacks=None).partial_fit(X, y).predict(X) for each in (model, other)]
    assert_array_equal(*later)


# --- resumed equals uninterrupted -------------------------------------------------------------------------------------


@NO_MATTER
@pytest.mark.parametrize("epoch", [3, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_resumed_fit__equals_an_uninterrupted_one(case, epoch, path, uninterrupted):
    whole = uninterrupted(case)
    epoch = min(epoch, whole.n_iter_)
    assert epoch > 1
    interrupted(case, path, Kill("batch", epoch))
    assert path.exists()
    model = model_of(case, path).fit(*data_of(case))
    assert_same(model, whole, case)


def test_cases__are_what_they_say(uninterrupted):
    assert uninterrupted("committee").net_.stacked_
    assert not uninterrupted("members one by one").net_.stacked_
    stopped = np.isnan(uninterrupted("committee whose members stop").history_[:, "train_task_loss_of_members"])
    assert stopped.any() and not stopped.any(axis=0).all()
    assert uninterrupted("one member that holds out").n_iter_ < fits.EPOCHS


@NO_MATTER
@pytest.mark.parametrize(
    "moment", ["batch", *(pytest.param(each, marks=pytest.mark.slow) for each in ("begin", "validation", "end"))]
)
@pytest.mark.parametrize("case", ["one member that holds out", "committee whose members stop"])
def test_any_moment_of_any_epoch(case, moment, tmp_path, uninterrupted):
    whole = uninterrupted(case)
    for epoch in range(1, whole.n_iter_ + 1):
        path = tmp_path / f"{epoch}"
        interrupted(case, path, Kill(moment, epoch))
        assert path.exists() == (epoch > 1)
        assert_same(model_of(case, path).fit(*data_of(case)), whole, case)
        whole = uninterrupted(case)


def raise_killed():
    raise Killed


@NO_MATTER
@pytest.mark.parametrize("stage", ["half", "written", "synced", "moved"])
def test_interrupted_write__leaves_a_whole_file(stage, path, uninterrupted, monkeypatch):
    case = "committee with dropout"
    for number in (1, 3):
        with monkeypatch.context() as patch:
            for patched in fits.fail_in_write(stage, number, raise_killed):
                patch.setattr(*patched)
            interrupted(case, path)
        written = number if stage == "moved" else number - 1
        assert path.exists() == (written > 0)
        if written:
            assert len(checked_file.read_checked(str(path))["state"]["parts"]) == 4
        assert_same(model_of(case, path).fit(*data_of(case)), uninterrupted(case), case)
        path.unlink()


@NO_MATTER
def test_interrupted_again_and_again(path, uninterrupted):
    case = "committee with dropout"
    for epoch in range(2, 6):
        interrupted(case, path, Kill("batch", epoch))
    assert_same(model_of(case, path).fit(*data_of(case)), uninterrupted(case), case)


@NO_MATTER
def test_save__of_a_fit_with_a_checkpoint(path, tmp_path, uninterrupted):
    case = "committee with dropout"
    model = model_of(case, path).fit(*data_of(case))
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_mdm.load(tmp_path / "model.safetensors")
    X, _ = data_of(case)
    assert_array_equal(loaded.predict(X), uninterrupted(case).predict(X))


@NO_MATTER
@pytest.mark.parametrize("every", [2, 4, 100])
def test_every__so_many_epochs_are_lost(every, path, uninterrupted):
    case = "committee with dropout"
    begun = []
    interrupted(case, path, Kill("end", 5), every=every)
    assert path.exists() == (every < 5)
    count = Count(begun)
    model = model_of(case, path, count, every=every).fit(*data_of(case))
    assert_same(model, uninterrupted(case), case)
    assert begun[0] == 1 + 4 // every * every


class Count(Kill):
    """Notes epochs."""

    def __init__(self, begun):
        super().__init__("never", 0)
        self.begun = begun

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.begun.append(len(net.history))


@NO_MATTER
@pytest.mark.parametrize(("case", "n_epochs"), [("committee with dropout", 0), ("one member that holds out", 1)])
def test_finished_fit__fits_again_at_once(case, n_epochs, path, uninterrupted):
    begun = []
    assert_same(model_of(case, path).fit(*data_of(case)), uninterrupted(case), case)
    content = path.read_bytes()
    model = model_of(case, path, Count(begun)).fit(*data_of(case))
    assert len(begun) == n_epochs
    assert_same(model, uninterrupted(case), case)
    assert path.read_bytes() == content or n_epochs


@NO_MATTER
def test_fit_that_a_callback_stopped__is_gone_on_from_without_it(path, uninterrupted):
    class Stop(Kill):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    case = "committee with dropout"
    model_of(case, path, Stop("never", 0)).fit(*data_of(case))
    assert_same(model_of(case, path).fit(*data_of(case)), uninterrupted(case), case)


@NO_MATTER
@pytest.mark.parametrize("case", ["one member", "committee with dropout"])
@pytest.mark.parametrize("generator", [False, True])
def test_random_state_that_is_no_number__seed_comes_from_the_file(case, generator, path, monkeypatch):
    drawn = iter([11, 22, 11])

    class Draws(np.random.RandomState):
        def randint(self, *args):
            return next(drawn)

    monkeypatch.setattr("sklearn_mdm.callbacks._resumable.check_random_state", lambda state: Draws())
    state = np.random.RandomState(0) if generator else None
    interrupted(case, path, Kill("batch", 3), random_state=state)
    model = model_of(case, path, random_state=state).fit(*data_of(case))
    whole = model_of(case, random_state=state).fit(*data_of(case))
    assert not list(drawn)
    assert_same(model, whole, case)


@NO_MATTER
@pytest.mark.parametrize("stage", ["half", "written", "synced", "moved"])
def test_ctrl_c_in_a_write__interrupts(stage, path, uninterrupted, monkeypatch):
    def press():
        raise KeyboardInterrupt

    case = "committee with dropout"
    with monkeypatch.context() as patch:
        for patched in fits.fail_in_write(stage, 3, press):
            patch.setattr(*patched)
        with pytest.warns(UserWarning, match="interrupted in epoch 3"):
            model_of(case, path).fit(*data_of(case))
    assert_same(model_of(case, path).fit(*data_of(case)), uninterrupted(case), case)


# --- what is not gone on from -----------------------------------------------------------------------------------------


def changed_data(X, y):
    X = {name: x.copy() for name, x in X.items()}
    X["audio"][3, 1] += 1e-9
    return X, y


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lr": 0.1}, r"lr \(0.002 there, 0.1 here\)"),
        ({"max_epochs": 7}, r"max_epochs \(6 there, 7 here\)"),
        ({"lam": 0.4}, r"lam \(0.3 there, 0.4 here\)"),
        ({"random_state": 1}, "seed from random_state"),
        ({"n_estimators": 3}, "layers of the module"),
        ({"fusion": fits.ConcatFusion((8,), dropout=0.1)}, "module"),
        ({"measure": "infonce"}, "measure"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"critic_lr": 0.5}, r"optimizer_critic__lr \(0.001 there, 0.5 here\)"),
        ({"n_iter_no_change": 9}, "callback MemberStopping"),
        ({"scaling": "robust"}, "training samples"),
        ({"early_stopping": False}, "samples held out"),
        ({"callbacks": [fits.GradientAccumulation(2)]}, "callback GradientAccumulation"),
    ],
)
def test_file_of_another_fit__error_says_what_differs(changed, told, path):
    X, y = data_of("committee")
    own = changed.pop("callbacks", [])
    model_of("committee", path, n_estimators=2, scaling="standard", max_epochs=6).fit(X, y)
    content = path.read_bytes()
    model = model_of("committee", path, *own, **{"n_estimators": 2, "scaling": "standard", **changed})
    with pytest.raises(ValueError, match=rf"another fit, which differs in: .*{told}.*Remove the file"):
        model.fit(X, y)
    assert path.read_bytes() == content
    assert not hasattr(model, "net_")


def test_other_data__error(path):
    X, y = data_of("one member")
    model = model_of("one member", path).fit(X, y)
    with pytest.raises(ValueError, match=r"differs in: training samples\. Remove"):
        model.fit(*changed_data(X, y))


def test_other_version__error(path, monkeypatch):
    X, y = data_of("one member")
    model = model_of("one member", path).fit(X, y)
    monkeypatch.setattr("sklearn_mdm.callbacks._same_fit.__version__", "9.9")
    with pytest.raises(ValueError, match=r"version of sklearn-mdm \('?0.*there, '?9.9'? here\)"):
        model.fit(X, y)


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_what_training_does_not_depend_on__may_differ(path, verbose, capsys):
    X, y = data_of("committee")
    interrupted("committee", path, Kill("batch", 3))
    model = model_of("committee", path, verbose=verbose, linear_member=False, every=3).fit(X, y)
    assert model.n_iter_ == fits.EPOCHS


def test_damaged_file__error(path):
    X, y = data_of("one member")
    model = model_of("one member", path).fit(X, y)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    bits = [0, 8 * len(content) - 1, *rng.integers(8 * len(content), size=30)]
    damaged = [content[: len(content) // 2], b"", content + b"\0", b"PK" + content]
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for each in damaged:
        path.write_bytes(each)
        with pytest.raises(ValueError, match=r"fit\.checkpoint is damaged.*Remove the file"):
            model.fit(X, y)
    path.write_bytes(content)
    model.fit(X, y)


def test_file__holds_nothing_that_runs(path):
    X, y = data_of("committee")
    model_of("committee", path).fit(X, y)
    start = len(checked_file.MAGIC) + 64
    content = path.read_bytes()[start:]
    other = path.with_name("content.pt")
    other.write_bytes(content)
    assert torch.load(other, weights_only=True)["seed"] == checked_file.read_checked(str(path))["seed"]
    assert sorted(each.name for each in path.parent.iterdir()) == ["content.pt", "fit.checkpoint"]


@pytest.mark.parametrize("case", ["one member", "committee"])
def test_partial_fit_and_warm_start__error(case, path):
    X, y = data_of(case)
    model = model_of(case, path)
    classes = {"classes": np.unique(y)} if case == "committee" else {}
    with pytest.raises(ValueError, match="ResumableCheckpoint goes on from a file, but partial_fit and warm_start"):
        model.partial_fit(X, y, **classes)
    model.set_params(warm_start=True).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="partial_fit and warm_start"):
        model.fit(X, y)
    assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "1"])
def test_every__not_a_positive_integer__error(every, path):
    with pytest.raises(ValueError, match="positive integer every"):
        model_of("one member", path, every=every).fit(*data_of("one member"))


@pytest.mark.parametrize("wrong", [None, "", 3, "."])
@pytest.mark.parametrize("random_state", [0, None])
def test_path_of_no_file__error(wrong, random_state):
    with pytest.raises(ValueError, match=r"ResumableCheckpoint needs the path of a file, .*got"):
        model = model_of("one member", None, ResumableCheckpoint(wrong), random_state=random_state)
        model.fit(*data_of("one member"))


def test_no_folder__error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        model_of("one member", tmp_path / "not" / "there").fit(*data_of("one member"))


# --- writes that fail -------------------------------------------------------------------------------------------------


def full():
    raise OSError(28, "No space left on device")


@NO_MATTER
@pytest.mark.parametrize("stage", ["half", "written", "synced"])
def test_write_that_fails__one_warning_and_training_goes_on(stage, path, uninterrupted, monkeypatch):
    case = "committee with dropout"
    for patched in fits.fail_in_write(stage, 2, full):
        monkeypatch.setattr(*patched)
    with pytest.warns(CheckpointWarning) as told:
        model = model_of(case, path).fit(*data_of(case))
    (warning,) = [each for each in told if each.category is CheckpointWarning]
    assert f"{path} could not be written in epoch 2" in str(warning.message)
    assert "No space left" in str(warning.message)
    assert_same(model, uninterrupted(case), case)
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no part of a file


@NO_MATTER
def test_folder_that_goes_away__says_what_was_kept(tmp_path, uninterrupted):
    case = "committee with dropout"
    folder = tmp_path / "gone"
    folder.mkdir()

    class Remove(Kill):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                folder.rename(tmp_path / "elsewhere")

    with pytest.warns(CheckpointWarning) as told:
        model = model_of(case, folder / "file", Remove("never", 0)).fit(*data_of(case))
    messages = [str(each.message) for each in told if each.category is CheckpointWarning]
    assert len(messages) == 2
    assert "could not be written in epoch 4" in messages[0] and "No such file" in messages[0]
    assert "is of epoch 3, of 6" in messages[1]
    assert_same(model, uninterrupted(case), case)


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def begun(case, path, moment="never"):
    command = [sys.executable, fits.__file__, case, str(path), moment]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def assert_killed_fit_resumes(case, path, uninterrupted):
    longer = {"max_epochs": 60, "n_iter_no_change": 60}
    model = model_of(case, path, **longer).fit(*data_of(case))
    assert_same(model, uninterrupted(case, **longer), case)


@NO_MATTER
@pytest.mark.parametrize("number", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 20))])
def test_kill_9__at_a_random_moment(number, path, uninterrupted):
    case = ["committee with dropout", "unlabelled"][number % 2]
    process = begun(case, path)
    while not path.exists():  # the first epoch, with all that a process does once
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(np.random.default_rng(number).uniform(0, 1.2))
    process.kill()
    process.communicate()
    epoch = len(json.loads(checked_file.read_checked(str(path))["state"]["parts"][0]["history"]))
    print(f"moment {number}: status {process.returncode}, epoch {epoch}")
    assert_killed_fit_resumes(case, path, uninterrupted)


@NO_MATTER
@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("stage", ["half", "written", "synced", "moved"])
def test_kill_9__during_a_write(stage, number, path, uninterrupted):
    process = begun("committee with dropout", path, f"{stage}:{number}")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_killed_fit_resumes("committee with dropout", path, uninterrupted)


def test_resumable_checkpoint__clones_and_pickles(path):
    callback = pickle.loads(pickle.dumps(ResumableCheckpoint(path, every=3)))
    assert callback.get_params() == {"path": path, "every": 3}

"""A search for the options that suit the data at hand.

    options -> candidates -> trials, each a training measured by validation -> the best options

Optuna proposes (TPE) and prunes; the first trials are the presets. Validation ratings, or
validation users, decide; no test rating is trained on or measured here. If the validation users
are few, a trial is trained on several folds of users, and the mean decides.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mxnet as mx
import numpy as np
import pandas as pd

from ..data import splits
from ..data.clicks import PIECES, Clicks, Fold, prepare_clicks
from ..data.ratings import Ratings
from ..models.kinds import RunConfig
from ..models.options import Options, computing_options, shown
from ..models.registry import make_config, options_in
from ..support.errors import ConfigError, DataError, NumericalError, UserError, check_whole
from ..support.terminal import SignalWatch
from ..support.texts import seconds_shown
from ..training.callbacks import Callback
from ..training.engine import start_mxnet
from ..training.history import EpochRecord, Score, best_epoch, label_of
from .options import own_options
from .ranking import load_clicks
from .rating import RatingParts, load_and_split
from .runner import KINDS
from .search_space import Candidate, candidates_of
from .study import SharedFolder, load_optuna

TRIALS = 30  # the default
REPORTS = 20  # the most that a trial reports to the pruner
# Half-way a trial with a high rate, or one that hides much of its input, is behind those that it
# beats at its end: only the worst quarter is pruned, and none in its first half.
PRUNED_BELOW, UNPRUNED = 75.0, 10
# The winner repeats its trial, with the test beside it, and is then refitted.
WINNER_FACTOR, WINNER_SECONDS = 1.2, 2.0
FEW_USERS, MOST_FOLDS = 200, 5  # with fewer validation users a trial has folds, at most this many
MANY_MINUTES = 1e6
ENDED = ("COMPLETE", "PRUNED")  # states of trials
PAUSE = 0.5  # seconds between two looks at what other processes do


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Parameters
    ----------
    options : dict
        The options of the best trial, as `make_config` takes them.
    config : RunConfig
        The same options as a configuration, to be trained with `train_model`.
    trial : int
        The best trial's number, from 1.
    validation : float
        The best trial's validation score.
    trials : DataFrame
        A row for each trial that has ended, in their order, with the columns trial, state, model,
        preset, validation, best_epoch, epochs, seconds and options.
    is_last : bool
        Whether no other process is still at work in the search's folder.
    """

    options: Options
    config: RunConfig
    trial: int
    validation: float
    trials: pd.DataFrame = field(repr=False)
    is_last: bool = True


def tune(
    config: RunConfig | Mapping[str, Any] | None = None,
    train: Ratings | Clicks | None = None,
    validation: Ratings | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    devices: Sequence[mx.Context] | None = None,
    out: str | Path | None = None,
) -> Tuned:
    """Search for the options that suit some ratings, or clicks.

    Parameters
    ----------
    config : RunConfig or mapping, optional
        Options as `make_config` takes them, which are fixed; the others of the model are
        searched. In a configuration, the options that differ from its preset are fixed. By default
        AutoRec, matrix factorization and means are searched; for clicks, all models that a report
        compares. `model` may name several, as in "autorec,mf".
    train : Ratings or Clicks, optional
        The data to search on, without a test part. By default the training part of the data that
        `config` names.
    validation : Ratings, optional
        Ratings by which the search decides, which must not be in `train`. By default a tenth of
        `train`, or `val_ratio`.
    trials : int, optional
        How many trials to train, by default 30.
    minutes : float, optional
        How long to search, in place of `trials`, including the winner's training.
    devices : sequence of Context, optional
        Where to train; by default on the devices that `config` names.
    out : path, optional
        A folder for the study: a search in the same folder goes on with it, and several
        processes share it. By default it is removed when the search ends.

    Returns
    -------
    Tuned
        The best options; `train_model(tuned.config, train, test)` trains with them.

    Raises
    ------
    UserError
        If arguments do not fit each other, or no trial could be trained.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    kind = "ranking" if isinstance(train, Clicks) else "rating"
    given = own_options(config) if isinstance(config, RunConfig) else options_in(config or {})
    candidates = candidates_of(given, kind)
    limits = limits_of(trials, minutes, time.monotonic())
    return Search(candidates, train, validation, devices).run(Path(out) if out else None, *limits)


def limits_of(trials: int | None, minutes: float | None, begin: float) -> tuple[float, float]:
    """Return the limits of a search that began at `begin`: see `Search.run`.

    Raises
    ------
    ConfigError
        If both limits are given, or one is out of range.
    """
    if minutes is None:
        trials = TRIALS if trials is None else trials
        check_whole("trials", trials, at_least=1)
        return trials, math.inf

    if trials is not None:
        raise ConfigError("`trials` and `minutes` exclude each other: give one of them")
    if not 0 < minutes <= MANY_MINUTES:
        raise ConfigError(f"`minutes` is {minutes!r}: it must be above 0 and at most 1e6")
    return math.inf, begin + 60 * minutes


class Search:
    """A search with its data.

    Parameters
    ----------
    candidates : sequence of Candidate
        The models.
    train, validation, devices : optional
        See `tune`.

    Attributes
    ----------
    say : callable
        (line) to None; it is called with a line on each trial.
    score : Score
        The metric that decides.

    Raises
    ------
    UserError
        If the data cannot be used.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        train: Ratings | Clicks | None = None,
        validation: Ratings | None = None,
        devices: Sequence[mx.Context] | None = None,
    ) -> None:
        self.say: Callable[[str], None] = lambda line: None
        self._optuna = load_optuna()  # says how to get it before data are read
        self._states = self._optuna.trial.TrialState
        self.candidates = {candidate.model: candidate for candidate in candidates}
        self._varied = [one.model for one in candidates if one.spaces]
        self._first = candidates[0].base
        self._first.check_single()
        self.score = self._first.score
        self._devices = devices
        mx.npx.set_np()
        start_mxnet(self._first.threads, cpus=len(devices or ()) or self._first.cpus or 1)

        self._data = _trial_data(self._first, train, validation)
        self._study: Any = None

    def _identity(self) -> dict[str, Any]:
        """Return a description of this search and its data that tells it from others."""
        fixed = {}
        for model, one in self.candidates.items():
            computing = {"preset", *computing_options(one.base)} - {"threads"}
            fixed[model] = {name: shown(one.fixed[name]) for name in computing & {*one.fixed}}

        data: Any = self._data
        parts = data if isinstance(data[0], Clicks) else data[0]
        return {"options": fixed, "data": [part.fingerprint for part in parts if part]}

    def run(self, folder: Path | None, trials: float, end: float = math.inf) -> Tuned:
        """Search until a limit is reached; return what this and other processes have found.

        It calls Optuna's `ask` and `tell` instead of its `optimize`, which has no place for a lock:
        no process may count the trials while another one begins one.

        Parameters
        ----------
        folder : Path or None
            The folder for the study; None stands for a temporary one.
        trials : float
            The largest number of trials, of all processes.
        end : float
            The time, of `time.monotonic`, by which the winner is to be trained, too.

        Raises
        ------
        UserError
            If the folder cannot be used, or no trial could be trained.
        Interrupted
            If SIGINT or SIGTERM asked to stop.
        """
        self._most_trials, self._end = trials, end
        with ExitStack() as stack:
            advice = f"the same command with `out={folder}` goes on"
            if folder is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="d2l_autorec-")))
                advice = "nothing was kept: give `out` a folder, and a search can be gone on with"

            shared = stack.enter_context(closing(SharedFolder(folder, self._identity())))
            watch = stack.enter_context(SignalWatch(advice))
            return self._search(shared, watch)

    def _search(self, shared: SharedFolder, watch: SignalWatch) -> Tuned:
        """Train trials until a limit is reached, together with other processes."""
        direction = "maximize" if self.score.higher_is_better else "minimize"
        pruner = self._optuna.pruners.PercentilePruner(PRUNED_BELOW, n_warmup_steps=UNPRUNED)
        with shared.holding():
            self._study = shared.open_study(direction, pruner)

        while True:
            with shared.holding():
                alone = shared.is_alone()
                trial = self._next_trial(alone)
                if trial is None and (alone or self._best() is not None):
                    shared.close()  # while the list is locked, so that one process is the last
                    return self._tuned(alone)

            if trial is None:
                time.sleep(PAUSE)  # another process is at the first trial
            else:
                self._try(trial, watch)
            watch.check()

    def so_far(self) -> tuple[int, float | None]:
        """Return how many trials of all processes have ended, and the best score or None."""
        best = self._best()
        return len(self._trials(*ENDED)), best and best.value

    def _trials(self, *states: str) -> list[Any]:
        """Return the trials in these states, in the order of their numbers."""
        wanted = tuple(self._states[state] for state in states)
        return self._study.get_trials(deepcopy=False, states=wanted)

    def _next_trial(self, alone: bool) -> Any:
        """Return the next trial, with its options in its attributes; None if the search is over."""
        if alone:  # the processes of running trials are gone: these trials are begun again
            for lost in self._trials("RUNNING"):
                self._study.tell(lost.number, state=self._states.FAIL)
        ended, running = self._trials(*ENDED), self._trials("RUNNING")
        is_late = bool(ended) and time.monotonic() > self._deadline()
        if is_late or len(ended) + len(running) >= self._most_trials:
            return None

        there = {tuple(trial.user_attrs.get("start", ())) for trial in [*ended, *running]}
        start = next((start for start in self._starts() if start not in there), None)
        if start is not None:
            self._enqueue(*start)
        elif not self._varied:
            return None

        self._study.sampler = self._sampler(len(ended) + len(running))
        trial = self._study.ask()
        model, preset = trial.user_attrs.get("start") or (self._varied[0], None)
        if model in self._varied:
            model = trial.suggest_categorical("model", self._varied)
        options = self.candidates[model].options_of(trial, preset)
        trial.set_user_attr("options", json.loads(json.dumps(options)))  # as the file has them
        return trial

    def _starts(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of model and preset: first the bases of all models, then their other presets.

        Models that are computed at once come first: they take the least time.
        """
        cheap_first = sorted(self.candidates.values(), key=lambda one: not one.base.at_once)
        presets = [[(one.model, name) for name in one.presets()] for one in cheap_first]
        return filter(None, chain.from_iterable(zip_longest(*presets)))

    def _enqueue(self, model: str, preset: str) -> None:
        """Make the next trial start from a preset."""
        candidate = self.candidates[model]
        point = candidate.preset_parameters() if preset == candidate.base.preset else {}
        if model in self._varied:
            point["model"] = model
        self._study.enqueue_trial(point, user_attrs={"start": [model, preset]})

    def _sampler(self, begun: int) -> Any:
        """Return a TPE sampler whose choices depend only on the seed and the trials before.

        They do not depend on trials that were lost, so that a search that was killed goes on as it
        would have.
        """
        seeds = np.random.SeedSequence([self._first.seed, begun])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group`, for models with options of their own, is new
            return self._optuna.samplers.TPESampler(
                seed=int(seeds.generate_state(1)[0]),
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def _deadline(self) -> float:
        """Return the time at which a trial must end, to leave time for the winner's training."""
        best = self._best()
        if best is None:
            return self._end

        found = best.user_attrs
        share = 1 + found["best_epoch"] / found["epochs"]
        seconds = found["seconds"] / len(self._data)
        return self._end - (WINNER_FACTOR * seconds * share + WINNER_SECONDS)

    def _best(self) -> Any:
        """Return the best complete trial, the first of equals; None if there is none."""
        sign = -1 if self.score.higher_is_better else 1
        complete = self._trials("COMPLETE")
        return min(complete, key=lambda trial: sign * trial.value, default=None)

    def _try(self, trial: Any, watch: SignalWatch) -> None:
        """Train a trial, tell the study its result, and report it."""
        options = trial.user_attrs["options"]
        deadline = self._deadline() if self._best() else math.inf  # one must be complete
        pruning = Pruning(trial, self.score, deadline)
        begin = time.perf_counter()
        value = None

        try:
            config = make_config({**options, "quiet": True})
            values = []
            for data in self._data:
                experiment = KINDS[config.task](config, data, self._devices)
                pruning.epochs = experiment.most_epochs()
                history = experiment.validate(watch, [pruning])
                best = best_epoch(history, self.score) or len(history)
                values.append(history[best - 1].validation[self.score.metric])
        except (self._optuna.TrialPruned, NumericalError, UserError, MemoryError) as error:
            outcome = str(error)
            found: dict[str, Any] = {"why": outcome}
        else:
            value = float(np.mean(values))
            found = {"best_epoch": best, "epochs": len(history)}
            where = f"at epoch {best} of {len(history)}"
            if len(values) > 1:
                where = f"in the mean of {len(values)} folds of users"
            outcome = f"validation {label_of(self.score.metric)} {value:.4f} {where}"

        found["seconds"] = time.perf_counter() - begin
        for name, what in found.items():
            trial.set_user_attr(name, what)
        pruned = self._states.PRUNED if value is None else None
        self._study.tell(trial, value, pruned)

        fixed = {*self.candidates[options["model"]].fixed, "preset"}
        own = [f"{name} {shown(value)}" for name, value in options.items() if name not in fixed]
        what = ", ".join([options["model"], options["preset"], *own])
        seconds = seconds_shown(found["seconds"])
        self.say(f"trial {trial.number + 1}: {outcome}, {seconds} s ({what})")

    def _tuned(self, is_last: bool) -> Tuned:
        """Return the search's result; raise DataError if no trial could be trained."""
        best = self._best()
        trials = self._trials(*ENDED)
        if best is None:
            why = trials[0].user_attrs["why"]
            raise DataError(f"none of the {len(trials)} trials could be trained: {why}")

        options = best.user_attrs["options"]
        config = make_config(options)
        return Tuned(options, config, best.number + 1, best.value, _frame(trials), is_last)


class Pruning(Callback):
    """A callback that ends a trial if it is worse than others were, or when time is up.

    Parameters
    ----------
    trial : optuna.Trial
        The trial.
    score : Score
        The metric that decides.
    deadline : float
        The time, of `time.monotonic`, at which the trial ends.

    Attributes
    ----------
    epochs : int
        The largest number of epochs of the trial.
    """

    def __init__(self, trial: Any, score: Score, deadline: float) -> None:
        self._trial = trial
        self._score = score
        self._deadline = deadline
        self._reported = 0
        self.epochs = 1

    def on_epoch_end(self, training: Any) -> None:
        """Report the validation score; raise TrialPruned to end the trial."""
        record: EpochRecord = training.history[-1]
        if time.monotonic() > self._deadline:
            raise load_optuna().TrialPruned(f"time was up at epoch {record.epoch} of {self.epochs}")

        step = REPORTS * record.epoch // self.epochs
        if step <= self._reported or not record.validation:
            return

        self._reported = step
        self._trial.report(record.validation[self._score.metric], step)
        if self._trial.should_prune():
            raise load_optuna().TrialPruned(f"pruned at epoch {record.epoch} of {self.epochs}")


def _frame(trials: Sequence[Any]) -> pd.DataFrame:
    """Return the trials as a frame; see `Tuned`."""
    found = ("best_epoch", "epochs", "seconds", "options")
    return pd.DataFrame(
        {
            "trial": trial.number + 1,
            "state": trial.state.name.lower(),
            "model": trial.user_attrs["options"]["model"],
            "preset": trial.user_attrs.get("start", (None, None))[1],
            "validation": trial.value if trial.state.name == "COMPLETE" else None,
            **{name: trial.user_attrs.get(name) for name in found},
        }
        for trial in trials
    )


def folds_of(clicks: Clicks) -> list[Clicks]:
    """Return the clicks as they are or, if few users validate, folds of all but the test users.

    Each fold has as many validation users, and other ones, until there are `FEW_USERS` in all.
    Clicks that were held out by time stay as they are: no fold of users would be like their test.
    """
    size = clicks.validation_users
    of = (clicks.num_train_users + size) // size
    count = min(-(-FEW_USERS // size), MOST_FOLDS, of)
    if clicks.weak or count < 2 or of < 3:
        return [clicks]

    known = clicks.interactions(PIECES[:3])
    folds = [Fold(number, of) for number in range(1, count + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first split has told what all folds drop
        return [prepare_clicks(known, 1.0, 0, 0, 0, fold) for fold in folds]


def _trial_data(
    config: RunConfig, train: Ratings | Clicks | None, validation: Ratings | None
) -> list[RatingParts] | list[Clicks]:
    """Return the data on which each trial is trained, one or several, without a test part."""
    given: Any = config  # of one of the two kinds
    ranks = config.task == "ranking"
    if train is None:
        train = load_clicks(given) if ranks else load_and_split(given)[0]
    if ranks != isinstance(train, Clicks):
        wanted = "Clicks, as prepare_clicks makes them" if ranks else "Ratings"
        raise ConfigError(
            f"train is a {type(train).__name__}: `model={config.model}` needs {wanted}"
        )

    if not isinstance(train, Clicks):
        return [RatingParts(*splits.all_to_train(train), validation)]
    if not train.validation_users:
        raise ConfigError("a search needs validation users: add `validation_users=0.1`")
    return folds_of(train)

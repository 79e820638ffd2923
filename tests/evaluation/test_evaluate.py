"""The evaluator against the chapter's formula in NumPy, on every device list."""

import mxnet as mx
import numpy as onp
import pytest
from helpers import cpus
from mxnet import np
from scipy import sparse

from d2l_autorec import evaluator
from d2l_autorec.data.ratings import Ratings
from d2l_autorec.evaluation.rating import RatingEvaluation, predict_at
from d2l_autorec.models.registry import make_config
from d2l_autorec.runs.rating import RatingExperiment

TRAIN = onp.arange(21, dtype="float32").reshape(7, 3)
TEST = onp.zeros((7, 3), dtype="float32")
TEST[0, 1], TEST[3, 2], TEST[6, 0] = 4, 2, 5


def double(x):
    return 2 * x


def batches(size):
    return [np.array(TRAIN[i : i + size]) for i in range(0, 7, size)]


ERRORS = onp.array([4 - 2 * 1, 2 - 2 * 11, 5 - 2 * 18])  # hand-computed


@pytest.mark.parametrize("devices", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix, onp.array])
def test_rmse(devices, batch_size, kind):
    contexts = cpus(devices)
    result = evaluator(double, batches(batch_size), kind(TEST), contexts)
    assert result == pytest.approx(onp.sqrt((ERRORS**2).mean()), rel=1e-6)


@pytest.mark.parametrize("rows", [6, 8])
def test_other_number_of_rows_is_an_error(rows):
    wanted = sparse.csr_matrix((rows, 3), dtype="float32")
    with pytest.raises(ValueError, match=f"7 rows were predicted, but the test data has {rows}"):
        predict_at(double, batches(2), wanted, [mx.cpu()])


def parts(offset=0.0):
    """Users 0..3, items 0..3; user 3 and item 3 have no training rating."""
    maps = dict(user_ids=range(4), item_ids=range(4), scale=(1 + offset, 5 + offset))
    train = Ratings([0, 0, 1, 2], [0, 1, 0, 2], onp.array([5, 3, 4, 1]) + offset, **maps)
    test = Ratings([1, 0, 3, 3], [1, 3, 0, 3], onp.array([2, 5, 3, 4]) + offset, **maps)
    return train, test


@pytest.mark.parametrize("based", ["item", "user"])
@pytest.mark.parametrize("offset", [0.0, -1.0, -11.0])
@pytest.mark.parametrize("devices", [1, 3])
def test_cold_ratings_get_the_fallback(based, offset, devices):
    """A net that says 7 on the training scale, which starts at 1 where the user's has 0 or less."""
    train, test = parts(offset)
    evaluation = RatingEvaluation(train, test, cpus(devices), based)
    seven = 7.0 - train.offset  # on the user's scale
    # (user 1, item 1) is known; item 3 is cold: user 0's mean; user 3 is cold: item 0's mean;
    # both are cold: the global mean
    means = train.means()
    user_0, item_0 = means.mean + means.rows[0], means.mean + means.columns[0]
    by_means = onp.array([user_0, item_0, means.mean]) - train.offset
    expected = dict(zip([(1, 1), (0, 3), (3, 0), (3, 3)], [seven, *by_means]))
    cells = test.to_csr(based).tocoo()
    pairs = zip(cells.col, cells.row) if based == "item" else zip(cells.row, cells.col)
    predictions = evaluation._with_means(evaluation.measured(lambda x: 0 * x + 7))
    onp.testing.assert_allclose(predictions, [expected[pair] for pair in pairs], rtol=1e-6)
    report = evaluation.report(lambda x: 0 * x + 7)
    errors = onp.array([seven, *by_means]) - test.values
    assert report["cold_test_ratings"] == 3
    assert report["test_rmse"] == pytest.approx(onp.sqrt((errors**2).mean()))
    assert report["test_mae"] == pytest.approx(onp.abs(errors).mean())
    assert report["test_without_cold_rmse"] == pytest.approx(abs(errors[0]))
    clipped = onp.array([min(seven, 5 + offset) - 2 - offset, *errors[1:]])
    assert report["test_clipped_rmse"] == pytest.approx(onp.sqrt((clipped**2).mean()))


@pytest.mark.parametrize("based", ["item", "user"])
def test_the_chapters_own_figure_stands_beside_ours(based):
    """Its evaluator gives cold ratings no mean and clips nothing."""
    train, test = parts()
    report = RatingEvaluation(train, test, [mx.cpu()], based, clip=True).report(lambda x: 2 * x + 1)
    rows = [np.array(train.to_csr(based).toarray())]
    expected = evaluator(lambda x: 2 * x + 1, rows, test.to_csr(based), [mx.cpu()])
    assert report["chapter_rmse"] == pytest.approx(expected, rel=1e-9)
    assert report["chapter_rmse"] != report["test_rmse"]


@pytest.mark.parametrize("clip", [False, True])
def test_clip_decides_what_counts(clip):
    evaluation = RatingEvaluation(*parts(), [mx.cpu()], clip=clip)
    report = evaluation.report(lambda x: 0 * x + 7)
    assert report["test_rmse"] == report["test_clipped_rmse" if clip else "test_unclipped_rmse"]
    assert evaluation(lambda x: 0 * x + 7)["rmse"] == report["test_rmse"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"based": "user"},
        {"kernel": "dense"},
        {"hidden": (4, 3, 4)},
        {"preset": "best", "refit": False},
        {"model": "mf"},
        {"model": "bias"},
        {"cpus": 2},
    ],
)
def test_parts_that_are_predicted_together_have_the_metrics_of_each_alone(options):
    given = {"dataset": "synthetic:60x80x900", "val_ratio": 0.2, "quiet": True, "cpus": 1}
    trained = {"epochs": 2} if options.get("model") != "bias" else {}
    experiment = RatingExperiment(make_config({**given, **trained, **options}))
    experiment.train()

    parts = experiment.evaluations("search")
    net = experiment.net
    assert set(parts) == {"test", "validation"}
    assert experiment.metrics_of(net) == {
        name: pytest.approx(part(net), rel=1e-6) for name, part in parts.items()
    }

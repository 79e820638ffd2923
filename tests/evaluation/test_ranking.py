"""Recall and NDCG against a plain reference; the ranking evaluation of a network."""

import math

import mxnet as mx
import numpy as np
import pytest
from helpers import cpus
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse as sp

from d2l_autorec.evaluation import metrics
from d2l_autorec.evaluation.ranking import RankingEvaluation, rank
from d2l_autorec.models.base import Fitted
from d2l_autorec.models.catalog.popularity import PopularityConfig
from d2l_autorec.models.mult_vae import MultVAE
from d2l_autorec.support.errors import DataError
from d2l_autorec.training.loaders import DenseRows, SparseRows


def plain_metrics(scores, fold_in, held_out, k):
    """Every metric at k of one user, by a full sort of Python numbers."""
    order = sorted(set(range(len(scores))) - set(fold_in), key=lambda item: (-scores[item], item))
    ranks = [rank for rank, item in enumerate(order[:k], 1) if item in held_out]
    ideal = sum(1 / math.log2(r + 1) for r in range(1, min(k, len(held_out)) + 1))
    precisions = [(place + 1) / rank for place, rank in enumerate(ranks)]
    return {
        "ndcg": sum(1 / math.log2(r + 1) for r in ranks) / ideal,
        "recall": len(ranks) / min(k, len(held_out)),
        "plain_recall": len(ranks) / len(held_out),
        "precision": len(ranks) / k,
        "hit_rate": float(len(ranks) > 0),
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "map": sum(precisions) / min(k, len(held_out)),
    }


def lists_of(scores, *clicks):
    """For each user the scores, and the items of each matrix of clicks."""
    columns = ([row.indices.tolist() for row in matrix] for matrix in clicks)
    return list(zip(scores.tolist(), *columns))


@st.composite
def rankings(draw):
    """Scores with many ties, and disjoint fold-in and held-out clicks; users without either."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.integers(0, draw(st.sampled_from([2, 5, 10**6])), (users, items))
    kind = rng.choice(
        3, (users, items), p=draw(st.sampled_from([(0.6, 0.2, 0.2), (0.9, 0.1, 0), (0, 0.5, 0.5)]))
    )
    clicks = [sp.csr_matrix((kind == k).astype("float32")) for k in (1, 2)]
    return scores.astype("float32"), *clicks


@settings(max_examples=200)
@given(rankings(), st.integers(1, 50))
def test_metrics_equal_the_plain_ones(problem, k):
    scores, fold_in, held_out = problem
    counted = np.diff(held_out.indptr) > 0
    scores, fold_in, held_out = scores[counted], fold_in[counted], held_out[counted]
    hits = metrics.hits_at(rank(scores.copy(), fold_in, k), held_out)
    relevant = np.diff(held_out.indptr)
    expected = [plain_metrics(*user, k) for user in lists_of(scores, fold_in, held_out)]
    for name, metric in metrics.METRICS.items():
        wanted = [user[name] for user in expected]
        assert_allclose(metric(hits, relevant, k), wanted, rtol=1e-12, err_msg=name)


def test_ndcg_and_recall_by_hand():
    hits = np.array([[True, False, True], [False, False, False], [True, True, True]])
    relevant = np.array([2, 1, 9])
    assert_allclose(metrics.METRICS["recall"](hits, relevant, 3), [1, 0, 1])
    assert_allclose(
        metrics.METRICS["ndcg"](hits, relevant, 3), [1.5 / (1 + 1 / math.log2(3)), 0, 1]
    )
    assert_allclose(metrics.METRICS["recall"](hits, relevant, 2), [0.5, 0, 1])


def test_coverage_by_hand():
    """Of ten items, the first two of each user are 1, 2 and 3; a user may have only one."""
    ranked = np.array([[1, 2, 7], [2, 3, 8], [3, -1, -1]])
    assert metrics.coverage_at(ranked, 10, 2) == 0.3
    assert metrics.coverage_at(ranked, 10, 100) == 0.5


# Items 0 to 3 are clicked by all four users, by the first two, by the last and by the first.
TRAIN = sp.csr_matrix(np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]], "float32"))
RANKED = np.array([[0, 1, 2], [3, 1, -1], [2, -1, -1]])


def test_novelty_by_hand():
    """Bits of the items are log2 of 4/4, 4/2, 4/1 and 4/1."""
    assert_allclose(metrics.novelty_at(RANKED, TRAIN, 1), [0, 2, 2])
    assert_allclose(metrics.novelty_at(RANKED, TRAIN, 3), [(0 + 1 + 2) / 3, (2 + 1) / 2, 2])
    assert np.isnan(metrics.novelty_at(np.array([[-1]]), TRAIN, 1)).all()


@pytest.mark.parametrize(
    "ranked, k, expected",
    [
        ([[0, 1], [2, 3]], 2, 0),  # each once
        ([[2, 0], [2, 1], [2, -1]], 1, 1),  # always the same
        ([[0, 1, 2], [0, 1, 3], [0, -1, -1]], 3, (-3 * 1 - 1 * 1 + 1 * 2 + 3 * 3) / (7 * 3)),
    ],
)
def test_gini_by_hand(ranked, k, expected):
    """Of four items; in the last case the counts are 1, 1, 2, 3."""
    assert metrics.gini_at(np.array(ranked), 4, k) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(rankings(), st.integers(1, 50))
def test_diversity_equals_a_plain_one(problem, k):
    scores, fold_in, train = problem
    ranked = rank(scores.copy(), fold_in, k)
    columns = train.toarray().T
    found = metrics.diversity_at(metrics.likeness_to_better(ranked, train), ranked, k)
    for items, value in zip(ranked, found):
        chosen = columns[items[items >= 0]].astype(float)
        lengths = np.maximum(np.linalg.norm(chosen, axis=1), 1)
        cosines = chosen @ chosen.T / np.outer(lengths, lengths)
        distances = 1 - cosines[np.triu_indices(len(chosen), 1)]
        assert value == pytest.approx(distances.mean() if len(distances) else 0, abs=1e-6)


def test_mean_and_standard_error():
    assert metrics.mean_and_error(np.array([1.0, np.nan, 3.0])) == (2, 1 / math.sqrt(2))
    assert all(map(math.isnan, metrics.mean_and_error(np.array([np.nan]))))


def test_scores_that_are_no_numbers_are_no_hits():
    scores = np.full((1, 5), np.nan, dtype="float32")
    ranked = rank(scores, sp.csr_matrix((1, 5)), 3)
    assert ranked.tolist() == [[-1, -1, -1]]
    assert not metrics.hits_at(ranked, sp.csr_matrix(np.ones((1, 5)))).any()


@pytest.fixture(scope="module")
def clicks():
    rng = np.random.default_rng(0)
    kind = rng.choice(3, (37, 150), p=[0.8, 0.15, 0.05])
    kind[3:6][kind[3:6] == 2] = 0  # three users without held-out items
    return [sp.csr_matrix((kind == k).astype("float32")) for k in (1, 2)]


@pytest.fixture(scope="module")
def net(clicks):
    net = MultVAE((20, 5), clicks[0].shape[1])
    net.initialize(mx.init.Normal(), ctx=cpus(3))
    return net


def test_a_report_has_every_metric_at_every_cut_off(clicks):
    """Deeper than an epoch's 100, too; at more items than there are, all are ranked."""
    fold_in, held_out = clicks
    scorer = Fitted(PopularityConfig()).fit(fold_in)
    cut_offs = (1, 7, 120, 1000)
    evaluation = RankingEvaluation(*clicks, [mx.cpu()], cut_offs=cut_offs)
    report = evaluation.report(scorer)
    assert report["cut_offs"] == list(cut_offs)

    scores = scorer(fold_in.toarray())
    for k in cut_offs:
        users = [plain_metrics(*user, k) for user in lists_of(scores, fold_in, held_out) if user[2]]
        for name in metrics.METRICS:
            values = [user[name] for user in users]
            assert report[f"test_{name}@{k}"] == pytest.approx(np.mean(values)), (name, k)
            error = np.std(values) / math.sqrt(34)
            assert report[f"test_{name}@{k}_se"] == pytest.approx(error), (name, k)
        assert 0 < report[f"test_coverage@{k}"] <= 1
        assert 0 < report[f"test_gini@{k}"] < 1 and report[f"test_novelty@{k}"] > 0
        assert (report[f"test_diversity@{k}"] > 0) == (k > 1)
    assert report["test_coverage@1000"] == 1


def test_the_report_counts_users(clicks, net):
    evaluation = RankingEvaluation(*clicks, [mx.cpu()], batch_size=10)
    report = evaluation.report(net)
    assert report["test_users"] == 34 and report["test_users_without_held_out"] == 3
    for name, value in evaluation(net).items():
        assert report[f"test_{name}"] == value
        errors = evaluation.per_user(evaluation.measured(net))[name]
        assert report[f"test_{name}_se"] == pytest.approx(np.std(errors) / math.sqrt(34))


@pytest.mark.parametrize("batchify", [DenseRows, SparseRows])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_devices_and_blocks_do_not_matter(clicks, net, count, batchify):
    whole = RankingEvaluation(*clicks, [mx.cpu()], batch_size=100)(net)
    devices = cpus(count)
    for batch_size in (11, 33, 100):  # 33: the last block has fewer rows than devices
        found = RankingEvaluation(*clicks, devices, batchify, batch_size)(net)
        assert found == pytest.approx(whole, abs=1e-9)


def test_nobody_to_measure(clicks):
    empty = sp.csr_matrix(clicks[1].shape, dtype="float32")
    with pytest.raises(DataError, match="none of the 37 held-out users has a held-out item"):
        RankingEvaluation(clicks[0], empty, [mx.cpu()])

"""The chapter's animated figure, as a notebook shows it."""

from types import SimpleNamespace

import d2l_autorec as d2l
from d2l_autorec.training.history import EpochRecord
from d2l_autorec.training.progress import Curve


def test_the_first_epochs_do_not_flatten_the_rest(settings):
    values = [3.0, 1.5, 1.1, 1.0, 0.96, 0.94, 0.92, 0.91, 0.905, 0.9]
    history = []
    d2l.use_style()
    with Curve(len(values)) as curve:
        for epoch, value in enumerate(values, 1):
            history.append(EpochRecord(epoch, 1.0, value + 0.01, 10, 1.0, {"rmse": value}))
            curve.on_epoch_end(SimpleNamespace(history=history))

    [axes] = curve._animator.axes
    train, test = axes.get_lines()
    assert list(test.get_ydata()) == values
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "train RMSE 0.910",
        "test RMSE 0.900",
    ]
    low, high = axes.get_ylim()
    assert low < 0.9 and 1.1 < high < 1.2
    assert all(line.get_visible() for line in axes.get_ygridlines())

"""No two purposes of a run, and no two of its epochs, draw the same random numbers."""

import itertools

import pytest

from d2l_autorec.support.seeds import Purpose, generator, mxnet_seed
from d2l_autorec.training.loaders import Loader


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_every_stream_is_another(seed):
    numbers = {
        (purpose, epoch): tuple(generator(seed, purpose, epoch).integers(2**62, size=2))
        for purpose, epoch in itertools.product(Purpose, range(4))
    }
    assert len(set(numbers.values())) == len(numbers)


def test_every_seed_for_mxnet_is_another_and_in_its_range():
    seeds = [mxnet_seed(seed, purpose) for seed, purpose in itertools.product(range(50), Purpose)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_streams_stay_as_they_are():
    """A change here changes every published figure of the package."""
    assert generator(0, Purpose.SPLIT).integers(1000, size=3).tolist() == [522, 889, 992]
    assert mxnet_seed(0, Purpose.INITIAL_VALUES) == 937182424


def test_the_split_is_not_the_order_of_the_first_epoch():
    """`default_rng(s)` and `default_rng([s, 0])` are one stream: they were, once."""
    loader = Loader(list, 1000, 1000, seed=5)
    for _ in range(3):
        [order] = loader
        assert order != generator(5, Purpose.SPLIT).permutation(1000).tolist()
        assert order != generator(5, Purpose.VALIDATION).permutation(1000).tolist()

"""Two models that the package has not: item-based k-nearest neighbours, and a deep autoencoder."""

from dataclasses import dataclass

from d2l_autorec.models.kinds import ClickModel
from d2l_autorec.models.options import AT_LEAST_1, SIZES, Among, Sizes, Span, option
from d2l_autorec.models.registry import register


@register("own-knn")
@dataclass(frozen=True)
class OwnKNN(ClickModel):
    """The items that are most like those of a user, by the cosine of their clicks."""

    neighbours: int = option(20, "items that each item is like", AT_LEAST_1, space=Span(5, 50))

    about = "item-based k-nearest neighbours"
    at_once = True

    def fit(self, matrix):
        import numpy as np

        from d2l_autorec.models.vectors import Linear

        gram = (matrix.T @ matrix).toarray()
        lengths = np.sqrt(np.maximum(gram.diagonal(), 1e-12))
        cosines = gram / np.outer(lengths, lengths)
        np.fill_diagonal(cosines, 0)

        ranks = np.argsort(np.argsort(-cosines, axis=0, kind="stable"), axis=0)
        weights = np.where(ranks < self.neighbours, cosines, 0)
        return Linear(weights.astype("float32"), np.zeros(len(gram), dtype="float32"))


@register("deep-norm")
@dataclass(frozen=True)
class DeepNorm(ClickModel):
    """A deep autoencoder of clicks with layer normalisation."""

    hidden: Sizes = option(
        (24, 12), "units of the hidden layers", SIZES, space=Among(((12,), (24, 12)))
    )

    about = "a deep autoencoder with layer normalisation"
    sized_by = "hidden"
    logits = True
    presets = {"best": {"lr": 0.01, "epochs": 15}}

    def network(self, data):
        from mxnet.gluon import nn

        net = nn.HybridSequential()
        units = data.num_items
        for size in self.hidden:
            net.add(nn.Dense(size, in_units=units), nn.LayerNorm(in_channels=size))
            net.add(nn.Activation("relu"), nn.Dropout(0.2))
            units = size
        net.add(nn.Dense(data.num_items, in_units=units))
        return net

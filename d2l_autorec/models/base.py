"""Networks as a run sees them: what it asks of them, fitted ones, and those of other people."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import mxnet as mx
import numpy as onp
from mxnet import gluon, np, npx
from mxnet.gluon import nn
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..kernels.csr import CSRBatch
from ..kernels.dropout import mxnet_seed_of
from ..support.errors import ConfigError
from .layers import Affine, RatingActivation
from .vectors import FoldIn, Linear, Vectors

if TYPE_CHECKING:
    from .kinds import RunConfig


class Model:
    """A network as a run sees it; here are the answers of most.

    A model has beside these what its kind is asked for: `fit` if it `is_closed_form`, `tables` if
    it `reads_pairs`, a `scorer`, or `row_vectors` and `column_vectors`; and for an export
    `affine_layers`, or `add_to`, which adds layers that are no sequence to an ONNX graph.

    Attributes
    ----------
    reads_pairs : bool
        Whether its input is pairs of user and item, and not rows of the interaction matrix.
    is_closed_form : bool
        Whether `fit` computes it at once, and nothing is trained.
    reads_sparse : bool
        Whether the sparse kernels compute it.
    has_parameters : bool
        Whether MXNet keeps its parameters; else it is fitted anew from a run's data.
    chosen : dict
        Options that it chose by validation.
    output : RatingActivation or None
        The activation of its predictions.
    centering : Centering or None
        What its layers' inputs and predictions are taken from and added to: row and column means.
    """

    reads_pairs = False
    is_closed_form = False
    reads_sparse = False
    has_parameters = True
    chosen: Mapping[str, Any] = {}
    output: RatingActivation | None = None
    centering: Any = None

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Make what the next step draws depend on these two alone.

        Parameters
        ----------
        key : uint64
            Of the step: see `dropout_key`.
        first_row : int
            Position in the whole batch of the first row that this process trains on.
        """
        mx.random.seed(mxnet_seed_of(key, first_row))

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, from 1; one that is resumed begins again."""

    def one_hidden(self) -> Any:
        """Return the network as the fused step trains it; None of one that it does not cover."""
        return None

    def scorer(self) -> Linear | FoldIn | None:
        """Return what makes scores of users' rows; None of a network."""
        return None


def vectors_of(layer: Any) -> Vectors:
    """Return the weight, shape (units, inputs), and bias of a last layer."""
    return Vectors(layer.weight.data().asnumpy(), layer.bias.data().asnumpy())


class Fitted(Model):
    """What the `fit` of a model returns, as a network without parameters of MXNet's.

    Parameters
    ----------
    config : RunConfig

    Shape: (batch_size, items), an ndarray or a CSRBatch -> (batch_size, items).
    """

    is_closed_form = True
    has_parameters = False

    def __init__(self, config: "RunConfig") -> None:
        self._config = config
        self._scorer: Any = None
        self.chosen = {}

    def fit(
        self, train: sparse.csr_matrix, score: Callable[["Fitted"], float] | None = None
    ) -> "Fitted":
        """Compute the scores' weights from a matrix of shape (users, items).

        Parameters
        ----------
        train : csr_matrix
        score : callable, optional
            Measures this network on validation users, for what the model chooses by it.
        """
        config = self._config
        if score is not None:
            config = config.choose(train, partial(self._scored, score))
            self.chosen = {
                name: value
                for name, value in asdict(config).items()
                if value != getattr(self._config, name)
            }
        self._scorer = config.fit(train)
        return self

    def _scored(self, score: Callable[["Fitted"], float], scorer: Any) -> float:
        self._scorer = scorer
        return score(self)

    def scorer(self) -> Linear | FoldIn:
        """Return what makes scores of users' rows."""
        return self._scorer

    def __call__(self, rows: Any) -> onp.ndarray:
        """Return the scores of rows."""
        return self._scorer.scores(as_csr(rows))


def as_csr(rows: Any) -> sparse.csr_matrix:
    """Return a batch, dense or CSRBatch, as a SciPy matrix."""
    if isinstance(rows, CSRBatch):
        return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), rows.shape)
    if isinstance(rows, MXNetArray):
        rows = rows.asnumpy()
    return sparse.csr_matrix(rows)


class OwnNetwork(gluon.Block, Model):
    """Rows of the interaction matrix through any Gluon block.

    Parameters
    ----------
    net : Block
        Copied, so that each phase of a run begins with its initial values. Layers in a sequence
        that ends in a Dense layer give vectors of items, and an export.

    Raises
    ------
    ConfigError
        If a layer does not say what size its input has: parameters are kept before any row is read.

    Shape: (batch_size, columns) -> (batch_size, columns).
    """

    def __init__(self, net: gluon.Block) -> None:
        npx.set_np()  # every layer computes by NumPy operators
        super().__init__()
        self.net = copy.deepcopy(net)

        for name, parameter in self.net.collect_params().items():
            if not parameter.shape or min(parameter.shape) < 1:
                raise ConfigError(
                    f"the shape of {name} is not known: give its layer `in_units` or `in_channels`"
                )

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return what the network makes of rows."""
        return self.net(x)

    def column_vectors(self) -> Vectors | None:
        """Return the rows of the last layer, if that is Dense and no more follows it."""
        layers = layers_of(self.net)
        if len(layers) > 1 and isinstance(layers[-1], nn.Dense) and layers[-1].act is None:
            return vectors_of(layers[-1])
        return None

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return what the last layer reads of rows."""
        hidden = np.array(as_csr(rows).toarray(), ctx=rows.ctx)
        for layer in layers_of(self.net)[:-1]:
            hidden = layer(hidden)
        return Vectors(hidden.asnumpy(), onp.zeros(len(rows), dtype=onp.float32))

    def affine_layers(self) -> list[Affine]:
        """Return weight, bias and what follows of every Dense layer; raise ConfigError for others.

        Dropout, which does nothing at prediction, is left out.
        """
        found: list[tuple[Any, Any, nn.HybridSequential]] = []
        for layer in layers_of(self.net):
            if isinstance(layer, nn.Dense):
                found.append((layer.weight.data(), layer.bias.data(), nn.HybridSequential()))
                if layer.act is not None:
                    found[-1][2].add(layer.act)
            elif found and not isinstance(layer, nn.Dropout):
                found[-1][2].add(layer)
            elif not isinstance(layer, nn.Dropout):
                raise ConfigError(
                    f"{type(layer).__name__} cannot be exported: layers are to begin with Dense"
                )
        return [(weight, bias, after if len(after) else None) for weight, bias, after in found]


def layers_of(net: gluon.Block) -> list[gluon.Block]:
    """Return the layers of sequences within sequences, one after the other."""
    if not isinstance(net, (nn.HybridSequential, nn.Sequential)):
        return [net]
    return [layer for child in net for layer in layers_of(child)]

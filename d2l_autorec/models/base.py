"""Networks as a run sees them: what it asks of each, models without training, users' own blocks."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import gluon, np, npx
from mxnet.gluon import nn
from mxnet.ndarray import NDArray as MXNetArray  # of which mxnet.np's arrays are a subclass
from scipy import sparse

from ..kernels.csr import CSRBatch
from ..kernels.dropout import mxnet_seed_of
from ..support.errors import ConfigError
from .layers import RatingActivation
from .vectors import FoldIn, Linear, Vectors

SEQUENCES = (nn.HybridSequential, nn.Sequential)  # a subclass may compute more


class Model:
    """The base of all networks: what a run asks of them, with defaults that suit most.

    A network has more methods, by its kind: `fit` if it `is_closed_form`, `tables` if it reads
    pairs of user and item, else a `scorer`, or `row_vectors` and `column_vectors`. For an export
    it has `add_to`: (graph, name of the input) to the name of the output, in an ONNX graph. The
    graph is a function (operator, inputs) to a new node's output, and `graph.layer` adds layers.

    Attributes
    ----------
    is_closed_form : bool
        Whether `fit` computes the parameters at once, without training.
    reads_sparse : bool
        Whether the sparse kernels can compute the network.
    has_parameters : bool
        Whether MXNet stores the parameters; if not, opening a run fits them anew to its data.
    chosen : dict
        Options that were chosen by validation.
    output : RatingActivation or None
        The activation of the predictions.
    centering : Centering or None
        The row and column means that are subtracted from the input and added to the predictions.
    """

    is_closed_form = False
    reads_sparse = False
    has_parameters = True
    chosen: Mapping[str, Any] = {}
    output: RatingActivation | None = None
    centering: Any = None

    def seed_step(self, key: onp.uint64, first_row: int) -> None:
        """Seed all random numbers of the next step.

        Parameters
        ----------
        key : uint64
            The step's key: see `dropout_key`.
        first_row : int
            Position in the whole batch of the first row that this process trains on.
        """
        mx.random.seed(mxnet_seed_of(key, first_row))

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, numbered from 1; it is called again where an epoch is resumed."""

    def one_hidden(self) -> Any:
        """Return the network in the form that the fused step trains; None if it cannot."""
        return None

    def scorer(self) -> Linear | FoldIn | None:
        """Return the object that scores items for users' rows; None for a network."""
        return None


def vectors_of(layer: Any) -> Vectors:
    """Return the weight, as the layer stores it, and the bias of a dense layer."""
    weight = layer.weight.data().asnumpy()
    if layer.bias is None:
        return Vectors.unbiased(weight)
    return Vectors(weight, layer.bias.data().asnumpy())


class Fitted(Model):
    """The result of a model's `fit`, as a network without MXNet parameters.

    Parameters
    ----------
    config : RunConfig
        The options, whose class has the `fit`.

    Shape: (batch_size, items), an ndarray or a CSRBatch -> (batch_size, items).
    """

    is_closed_form = True
    has_parameters = False

    def __init__(self, config: Any) -> None:
        self._config = config
        self._scorer: Any = None
        self.chosen = {}

    def fit(
        self, train: sparse.csr_matrix, score: Callable[["Fitted"], float] | None = None
    ) -> "Fitted":
        """Fit the model to a matrix of shape (users, items).

        Parameters
        ----------
        train : csr_matrix
            The training clicks.
        score : callable, optional
            (this network) to its score on validation users, by which the model chooses options.
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
        """Return the object that scores items for users' rows."""
        return self._scorer

    def __call__(self, rows: Any) -> onp.ndarray:
        """Return the scores of all items for each row."""
        return self._scorer.scores(as_csr(rows))


def as_csr(rows: Any) -> sparse.csr_matrix:
    """Return a batch, dense or CSRBatch, as a SciPy matrix."""
    if isinstance(rows, CSRBatch):
        return rows.to_scipy()
    if isinstance(rows, MXNetArray):
        rows = rows.asnumpy()
    return sparse.csr_matrix(rows)


class OwnNetwork(gluon.Block, Model):
    """A user's own Gluon block, which maps rows of the interaction matrix to rows.

    Parameters
    ----------
    net : Block
        The block. It is copied, so that each phase of a run begins with its initial values. A
        sequence of layers that ends in a Dense layer gives vectors of items, and an export.

    Raises
    ------
    ConfigError
        If it is no block, has no parameters, or a layer does not know the size of its input, which
        is needed before any row is read.

    Shape: (batch_size, columns) -> (batch_size, columns).
    """

    def __init__(self, net: gluon.Block) -> None:
        if not isinstance(net, gluon.Block) or not net.collect_params().keys():
            kind = type(net).__name__
            raise ConfigError(f"net is a {kind}: it must be a Gluon block with parameters")

        npx.set_np()  # every layer computes by NumPy operators
        super().__init__()
        self.net = copy.deepcopy(net)

        for name, parameter in self.net.collect_params().items():
            if not parameter.shape or min(parameter.shape) < 1:
                raise ConfigError(
                    f"the shape of {name} is not known: give its layer `in_units` or `in_channels`"
                )
            if parameter._data is not None:  # it is on one device, and the copy has no gradients
                parameter.init = mx.init.Constant(parameter.data())
                parameter._data = parameter._grad = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the network's output for rows."""
        return self.net(x)

    def check_columns(self, columns: int, device: mx.Context) -> None:
        """Initialise the network; raise ConfigError if its output is not as long as its rows."""
        self.initialize(ctx=device)
        try:
            found = self(np.zeros((1, columns), ctx=device))
        except mx.MXNetError as error:
            raise ConfigError(
                f"net cannot read rows of {columns} numbers: {str(error).strip().splitlines()[-1]}"
            ) from error

        shown = found.shape if isinstance(found, MXNetArray) else f"a {type(found).__name__}"
        if shown != (1, columns):
            raise ConfigError(
                f"net maps an array of shape {1, columns} to {shown}: it must return an array of "
                "MXNet of the same shape"
            )

    def column_vectors(self) -> Vectors | None:
        """Return the weights and biases of the last layer; None unless it is Dense and linear."""
        layers = layers_of(self.net)
        if len(layers) > 1 and type(layers[-1]) is nn.Dense and layers[-1].act is None:
            return vectors_of(layers[-1])
        return None

    def row_vectors(self, rows: CSRBatch) -> Vectors:
        """Return the last layer's inputs for rows, with biases of 0."""
        hidden = np.array(as_csr(rows).toarray(), ctx=rows.ctx)
        for layer in layers_of(self.net)[:-1]:
            hidden = layer(hidden)
        return Vectors.unbiased(hidden.asnumpy())

    def add_to(self, graph: Any, x: str) -> str:
        """Add the network to an ONNX graph; see `Model`."""
        return graph.layer(self.net, x)


def layers_of(net: gluon.Block) -> list[gluon.Block]:
    """Return the layers of a block in order; sequences within sequences are unpacked."""
    if type(net) not in SEQUENCES:
        return [net]
    return [layer for child in net for layer in layers_of(child)]

"""The ONNX graph of a trained autoencoder: its layers as ONNX operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mxnet.gluon import nn
from onnx import helper, numpy_helper

from ..models.base import SEQUENCES, vectors_of
from ..models.centered_autorec import ROW_LENGTH, Centering
from ..models.layers import InputDense, OutputDense
from ..models.sparse_autorec import row_model
from ..support.errors import ConfigError
from .tables import INPUT

OUTPUT = "predictions"
# These versions are of 2022: onnxruntime reads them from 1.13 on.
OPERATORS = 17
FORMAT = 8
ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
ACTIVATIONS |= {"softrelu": "Softplus", "softsign": "Softsign", "elu": "Elu", "selu": "Selu"}


def save_graph(net: Any, columns: int, path: Path) -> None:
    """Write the function that `net` computes at prediction as an ONNX model.

    The rows of a model of `unit_rows` must have length 1 already; a code that is drawn in
    training is its mean.

    Shape of the model: (batch_size, columns) -> (batch_size, columns), float32.
    """
    net = row_model(net)
    graph = _Graph()

    inputs = INPUT
    if net.centering is not None:
        inputs, row_biases = _centered(graph, net.centering)

    output = net.add_to(graph, inputs)
    if net.output is not None:
        factor, summand = net.output.function.line()
        output = graph.layer(net.output.act, output)
        output = graph("Add", graph("Mul", output, factor), summand)
    if net.centering is not None:
        output = graph("Mul", output, net.centering.unit_of_ratings())
        output = graph("Add", output, net.centering.column_means())
        output = graph("Add", output, row_biases)

    onnx.save(graph.model(output, columns), str(path))


class _Graph:
    """An ONNX graph that grows: nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node and return its output's name; each input is such a name, or a constant."""
        name = f"{operator}-{len(self._nodes)}"
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def layer(self, layer: Any, x: str, units: int | None = None) -> str:
        """Add a layer, or a sequence of them, as at prediction; return its output's name.

        Of a dense layer only the first `units` are added, by default all. None adds nothing.
        """
        if layer is None or isinstance(layer, nn.Dropout):
            return x
        if type(layer) in SEQUENCES:
            for one in layer:
                x = self.layer(one, x)
            return x

        if isinstance(layer, (nn.Dense, InputDense, OutputDense)):
            weight, bias = vectors_of(layer)
            if isinstance(layer, InputDense):
                weight = weight.T
            x = self("Gemm", x, weight[:units], bias[:units], transB=1)
            return self.layer(getattr(layer, "act", None), x)
        if isinstance(layer, nn.LayerNorm):
            scale, shift = layer.gamma.data().asnumpy(), layer.beta.data().asnumpy()
            return self("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer._epsilon)

        name = layer._alias()
        if name not in ACTIVATIONS:
            raise ConfigError(
                f"{type(layer).__name__} cannot be exported: an export knows Dense, LayerNorm and "
                f"these activations: {', '.join(ACTIVATIONS)}"
            )
        return self(ACTIVATIONS[name], x)

    def _constant(self, value: Any) -> str:
        values = np.asarray(value)
        if values.dtype.kind == "f":
            values = values.astype(np.float32)

        name = f"constant-{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def model(self, output: str, columns: int) -> onnx.ModelProto:
        """Return the ONNX model, whose predictions are the output with this name."""
        self._nodes.append(helper.make_node("Identity", [output], [OUTPUT]))

        ends = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", columns])
            for name in (INPUT, OUTPUT)
        ]
        graph = helper.make_graph(self._nodes, "net", ends[:1], ends[1:], self._constants)

        operators = [helper.make_opsetid("", OPERATORS)]
        return helper.make_model(graph, opset_imports=operators, ir_version=FORMAT)


def _centered(graph: _Graph, centering: Centering) -> tuple[str, str]:
    """Add the operations of `Centering`; return the names of encoder inputs and row biases."""
    observed = graph("Abs", graph("Sign", INPUT))
    counts = graph("ReduceSum", observed, [1], keepdims=1)

    left = graph("Mul", graph("Sub", INPUT, centering.column_means()), observed)
    total = graph("ReduceSum", left, [1], keepdims=1)
    damping, slope = centering.row_prior()
    expected = graph("Mul", graph("Log", graph("Max", counts, 1.0)), slope)
    total = graph("Sub", total, graph("Mul", counts, expected))
    row_biases = graph("Add", expected, graph("Div", total, graph("Add", counts, damping)))
    left = graph("Sub", left, graph("Mul", row_biases, observed))
    left = graph("Div", left, centering.unit_of_ratings())

    length = graph("Div", ROW_LENGTH, graph("Sqrt", graph("Max", counts, 1.0)))
    return graph("Mul", graph("Add", left, observed), length), row_biases

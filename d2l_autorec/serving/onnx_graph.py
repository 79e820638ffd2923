"""The ONNX graph of a trained autoencoder: its layers as ONNX operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mxnet.gluon import nn
from onnx import helper, numpy_helper

from ..models.centered_autorec import ROW_LENGTH, Centering
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

    draws_itself = hasattr(net, "add_to")
    output = net.add_to(graph, inputs) if draws_itself else _layers(graph, net, inputs)
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

    def layer(self, layer: Any, x: str) -> str:
        """Add one of Gluon's layers, or a sequence of them, and return its output's name."""
        if isinstance(layer, nn.HybridSequential):
            for one in layer:
                x = self.layer(one, x)
            return x

        if isinstance(layer, nn.Dense):
            weight, bias = layer.weight.data().asnumpy(), layer.bias.data().asnumpy()
            return self("Gemm", x, weight, bias, transB=1)
        if isinstance(layer, nn.LayerNorm):
            scale, shift = layer.gamma.data().asnumpy(), layer.beta.data().asnumpy()
            return self("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer._epsilon)
        return self(_operator(layer), x)

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


def _layers(graph: _Graph, net: Any, x: str) -> str:
    for weight, bias, activation in net.affine_layers():
        x = graph("Gemm", x, weight.asnumpy(), bias.asnumpy(), transB=1)
        if activation is not None:
            x = graph.layer(activation, x)

    if net.output is not None:
        factor, summand = net.output.function.line()
        x = graph(_operator(net.output.act), x)
        x = graph("Add", graph("Mul", x, factor), summand)

    return x


def _operator(activation: nn.HybridBlock) -> str:
    """Return the ONNX operator of an activation's layer; raise ConfigError if there is none."""
    name = activation._alias()
    if name not in ACTIVATIONS:
        raise ConfigError(f"an export knows no layer {name}")
    return ACTIVATIONS[name]


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

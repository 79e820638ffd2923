"""What is arranged for MXNet and d2l."""

from helpers import python, succeeded


def test_operators_of_mxnet_are_made_when_they_are_called():
    program = """
import sys
import d2l_autorec
import mxnet as mx

made = []
sys.setprofile(lambda frame, event, _: made.append(frame.f_code.co_name))
product = mx.nd.dot(mx.nd.array([[1, 2]]), mx.nd.array([[3], [4]]))
sys.setprofile(None)
assert product.asscalar() == 11
assert "_make_ndarray_function" in made

symbol = mx.sym.FullyConnected(mx.sym.var("x"), num_hidden=2, name="dense")
assert symbol.list_arguments() == ["x", "dense_weight", "dense_bias"]
assert mx.npx.relu(mx.np.array([-1.0, 2.0])).tolist() == [0.0, 2.0]
assert mx.nd.dot.__name__ == "dot" and "operator dot" in mx.nd.dot.__doc__
"""
    succeeded(python("-c", program))

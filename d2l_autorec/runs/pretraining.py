"""Greedy layer-wise pretraining: one phase a layer, from the outside in.

ratings -> AutoRec of the first layer                       'pretrain-1'
its hidden units -> autoencoder of the next pair of layers  'pretrain-2', ...
all layers together, begun with these                       'search', or 'refit'
"""

from typing import Any

import numpy as onp
from mxnet import gluon
from scipy import sparse

from ..models.code_autoencoder import CodeAutoencoder, codes
from ..models.deep_autorec import DeepAutoRec
from ..training.loaders import DenseRows, eval_loader, train_loader
from .config import RatingModel, stage_of


def inner_stage(
    net: DeepAutoRec, rows: sparse.csr_matrix, batchify: Any, phase: str, config: RatingModel
) -> tuple[CodeAutoencoder, gluon.data.DataLoader]:
    """What is trained in a phase of pretraining after the first, and on what.

    Parameters
    ----------
    net : DeepAutoRec
        With what the phases before it have trained.
    rows : csr_matrix
        Rows of ratings.
    batchify : callable
        What makes batches of them.
    phase : str
    config : RatingModel
    """
    depth = stage_of(phase) - 1
    parts = [codes(net, batch, depth) for batch in eval_loader(rows, batchify=batchify)]
    units = onp.concatenate(parts)

    size = config.rows_of_a_step(len(units))
    loader = train_loader(sparse.csr_matrix(units), size, config.seed, DenseRows)
    return CodeAutoencoder(net, depth), loader

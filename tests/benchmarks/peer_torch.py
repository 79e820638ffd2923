"""A dense PyTorch AutoRec trained as tutorials do; run by speed.py in the same environment."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse


class AutoRec(torch.nn.Module):
    def __init__(self, num_hidden: int, columns: int, dropout: float = 0.05) -> None:
        super().__init__()
        self.encode = torch.nn.Linear(columns, num_hidden)
        self.decode = torch.nn.Linear(num_hidden, columns)
        self.dropout = torch.nn.Dropout(dropout)
        for layer in (self.encode, self.decode):
            torch.nn.init.normal_(layer.weight, std=0.01)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        prediction = self.decode(self.dropout(torch.sigmoid(self.encode(rows))))
        return prediction * torch.sign(rows) if self.training else prediction


class LazyRows(torch.utils.data.Dataset):
    """Rows of a matrix too large to be dense, densified a batch at a time."""

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self._matrix = matrix

    def __len__(self) -> int:
        return self._matrix.shape[0]

    def __getitems__(self, rows: list) -> torch.Tensor:
        return torch.from_numpy(self._matrix[rows].toarray())


def prepare(matrix: sparse.csr_matrix, threads: int, dense: bool) -> tuple[Any, Any, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = AutoRec(500, matrix.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002, weight_decay=1e-5)
    if dense:
        rows = torch.from_numpy(matrix.toarray())
        loader = torch.utils.data.DataLoader(rows, shuffle=True, drop_last=True, batch_size=256)
    else:
        loader = torch.utils.data.DataLoader(
            LazyRows(matrix),
            shuffle=True,
            drop_last=True,
            batch_size=256,
            collate_fn=lambda batch: batch,
        )
    return net, optimizer, loader


def train_steps(net: Any, optimizer: Any, loader: Any) -> Iterator[float]:
    """One epoch; yields the seconds since its start after each batch."""
    loss = torch.nn.MSELoss(reduction="sum")
    net.train()
    start = time.perf_counter()
    for rows in loader:
        optimizer.zero_grad()
        value = loss(net(rows), rows)
        value.backward()
        optimizer.step()
        value.item()
        yield time.perf_counter() - start


def evaluate(net: Any, matrix: sparse.csr_matrix, test: sparse.csr_matrix) -> float:
    net.eval()
    squared = 0.0
    with torch.no_grad():
        for begin in range(0, matrix.shape[0], 1024):
            rows = torch.from_numpy(matrix[begin : begin + 1024].toarray())
            cells = test[begin : begin + 1024].tocoo()
            squared += float(np.square(net(rows).numpy()[cells.row, cells.col] - cells.data).sum())
    return float(np.sqrt(squared / test.nnz))

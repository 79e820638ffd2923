"""A dense PyTorch Mult-VAE trained as its public versions are; run by vae_speed.py."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class MultVAE(nn.Module):
    """items -> 600 -> 2 x 200 -> 600 -> items."""

    def __init__(self, columns: int, hidden: Sequence[int]) -> None:
        super().__init__()
        first, code = hidden
        self.encoder = nn.Sequential(
            nn.Linear(columns, first), nn.Tanh(), nn.Linear(first, 2 * code)
        )
        self.decoder = nn.Sequential(nn.Linear(code, first), nn.Tanh(), nn.Linear(first, columns))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = functional.dropout(functional.normalize(rows), 0.5, self.training)
        mean, log_variance = self.encoder(kept).chunk(2, dim=1)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        divergence = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1) / 2
        return self.decoder(code), divergence


def train_steps(
    matrix: Any, batches: Sequence[np.ndarray], hidden: Sequence[int]
) -> Iterator[float]:
    """One step for each array of row numbers; yields the seconds since the start after each."""
    torch.manual_seed(0)
    net = MultVAE(matrix.shape[1], hidden)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    start = time.perf_counter()
    for step, rows in enumerate(batches):
        dense = torch.from_numpy(matrix[rows].toarray())
        optimizer.zero_grad()
        logits, divergence = net(dense)
        likelihood = (functional.log_softmax(logits, dim=1) * dense).sum(dim=1)
        loss = (min(0.2, step / 200_000) * divergence - likelihood).mean()
        loss.backward()
        optimizer.step()
        loss.item()
        yield time.perf_counter() - start

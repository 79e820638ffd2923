"""A dense Mult-VAE as its public PyTorch versions are: `python torch_vae_program.py ratings.tsv`.

Clicks are ratings of 4 or more. Needs torch, numpy and pandas only: `command.py` runs it beside
the package's command. The last line says the seconds of the median epoch, without evaluation.
"""

import statistics
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

FIRST, CODE, BATCH, EPOCHS = 600, 200, 500, 5


class MultVAE(nn.Module):
    """items -> 600 -> 2 x 200 -> 600 -> items."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        first, code = nn.Linear(columns, FIRST), nn.Linear(FIRST, 2 * CODE)
        self.encoder = nn.Sequential(first, nn.Tanh(), code)
        self.decoder = nn.Sequential(nn.Linear(CODE, FIRST), nn.Tanh(), nn.Linear(FIRST, columns))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = functional.dropout(functional.normalize(rows), 0.5)
        mean, log_variance = self.encoder(kept).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        divergence = (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1) / 2
        return self.decoder(code), divergence


def read(path: str) -> torch.Tensor:
    """Users x items, 1 where a rating is 4 or more."""
    frame = pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2])
    users, items = (pd.factorize(frame[column][frame[2] >= 4])[0] for column in (0, 1))
    dense = np.zeros((users.max() + 1, items.max() + 1), dtype=np.float32)
    dense[users, items] = 1
    return torch.from_numpy(dense)


def main(path: str) -> None:
    torch.manual_seed(0)
    clicks = read(path)
    net = MultVAE(clicks.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    step, seconds = 0, []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for chosen in torch.randperm(len(clicks)).split(BATCH):
            rows = clicks[chosen]
            logits, divergence = net(rows)
            likelihood = (functional.log_softmax(logits, dim=1) * rows).sum(dim=1)
            loss = (min(0.2, step / 200_000) * divergence - likelihood).mean()

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        seconds.append(time.perf_counter() - start)

    print("seconds", statistics.median(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])

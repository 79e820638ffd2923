"""AutoRec as a PyTorch user would write it: dense rows in memory, one loop, RMSE after each epoch.

    python torch_program.py ratings.tsv [--epochs 25] [--batch-size 256] [--hidden 500]

Needs torch, numpy and pandas only: `command.py` runs it beside the package's command. The last
line says the seconds of the median epoch, evaluation included.
"""

import argparse
import statistics
import time

import numpy as np
import pandas as pd
import torch


class AutoRec(torch.nn.Module):
    def __init__(self, num_hidden: int, columns: int, dropout: float) -> None:
        super().__init__()
        self.encode = torch.nn.Linear(columns, num_hidden)
        self.decode = torch.nn.Linear(num_hidden, columns)
        self.dropout = torch.nn.Dropout(dropout)
        for layer in (self.encode, self.decode):
            torch.nn.init.normal_(layer.weight, std=0.01)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.decode(self.dropout(torch.sigmoid(self.encode(rows))))


def read(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense matrices, items x users, of 90 % of the ratings and of the others."""
    frame = pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2])
    users, items = (pd.factorize(frame[column])[0] for column in (0, 1))
    is_test = np.random.default_rng(0).uniform(size=len(frame)) < 0.1

    parts = []
    for chosen in (~is_test, is_test):
        dense = np.zeros((items.max() + 1, users.max() + 1), dtype=np.float32)
        dense[items[chosen], users[chosen]] = frame[2].to_numpy()[chosen]
        parts.append(torch.from_numpy(dense))

    return parts[0], parts[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ratings")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--wd", type=float, default=1e-5)
    parser.add_argument("--dropout", type=float, default=0.05)
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = read(options.ratings)
    is_test = test != 0
    net = AutoRec(options.hidden, train.shape[1], options.dropout)
    optimizer = torch.optim.Adam(net.parameters(), lr=options.lr, weight_decay=options.wd)

    seconds = []
    for epoch in range(options.epochs):
        start = time.perf_counter()

        net.train()
        for chosen in torch.randperm(len(train)).split(options.batch_size):
            rows = train[chosen]
            squared = (((net(rows) - rows) * (rows != 0)) ** 2).sum()
            loss = squared / rows.numel() / 2

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        net.eval()
        with torch.no_grad():
            total = 0.0
            for rows, truth, there in zip(train.split(1024), test.split(1024), is_test.split(1024)):
                total += float(((net(rows) - truth)[there] ** 2).sum())

        seconds.append(time.perf_counter() - start)
        print(f"epoch {epoch + 1}: test RMSE {(total / int(is_test.sum())) ** 0.5:.4f}")

    print("seconds", statistics.median(seconds))


if __name__ == "__main__":
    main()

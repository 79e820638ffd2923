"""The chapter's program, statement by statement, on this package; run by test_chapter.py.

`--own` defines AutoRec and the evaluator here, as the chapter's reader does,
instead of taking the package's. `--book` does so too and takes everything else
from d2l itself, repaired only so that it runs: a device list that is not
empty, data from a local folder, and a separator that pandas takes.
"""

import os
import sys

import d2l_autorec as d2l  # first, as MXNet needs what it prepares

# isort: split
import mxnet as mx
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn

npx.set_np()

if "--book" in sys.argv:
    from d2l import mxnet as d2l

    read_csv = d2l.pd.read_csv  # pandas 2 takes the separator by name
    d2l.pd.read_csv = lambda path, sep, **options: read_csv(path, sep=sep, **options)
    d2l.try_all_gpus = lambda: [mx.cpu()]
    d2l.download_extract = lambda name: os.path.join(os.environ["D2L_AUTOREC_DATA"], name)

if "--own" not in sys.argv and "--book" not in sys.argv:
    AutoRec, evaluator = d2l.AutoRec, d2l.evaluator
else:

    class AutoRec(nn.Block):
        def __init__(self, num_hidden, num_users, dropout=0.05):
            super().__init__()
            self.encoder = nn.Dense(num_hidden, activation="sigmoid")
            self.decoder = nn.Dense(num_users)
            self.dropout = nn.Dropout(dropout)

        def forward(self, ratings):
            reconstruction = self.decoder(self.dropout(self.encoder(ratings)))
            if autograd.is_training():
                return reconstruction * np.sign(ratings)
            return reconstruction

    def evaluator(network, inter_matrix, test_data, devices):
        parts = []
        for rows in inter_matrix:
            for shard in gluon.utils.split_and_load(rows, devices, even_split=False):
                parts.extend(network(shard).asnumpy())
        error = test_data - np.sign(test_data) * np.array(parts)
        return float(np.sqrt(np.sum(error**2) / np.sum(np.sign(test_data))))


devices = d2l.try_all_gpus()
df, num_users, num_items = d2l.read_data_ml100k()
train_data, test_data = d2l.split_data_ml100k(df, num_users, num_items)
_, _, _, train_inter_mat = d2l.load_data_ml100k(train_data, num_users, num_items)
_, _, _, test_inter_mat = d2l.load_data_ml100k(test_data, num_users, num_items)
train_iter = gluon.data.DataLoader(
    train_inter_mat,
    shuffle=True,
    last_batch="rollover",
    batch_size=256,
    num_workers=d2l.get_dataloader_workers(),
)
test_iter = gluon.data.DataLoader(
    np.array(train_inter_mat),
    shuffle=False,
    last_batch="keep",
    batch_size=1024,
    num_workers=d2l.get_dataloader_workers(),
)
net = AutoRec(500, num_users)
net.initialize(ctx=devices, force_reinit=True, init=mx.init.Normal(0.01))
lr, num_epochs, wd, optimizer = 0.002, 25, 1e-5, "adam"
loss = gluon.loss.L2Loss()
trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": lr, "wd": wd})
d2l.train_recsys_rating(
    net,
    train_iter,
    test_iter,
    loss,
    trainer,
    num_epochs,
    devices,
    evaluator,
    inter_mat=test_inter_mat,
)

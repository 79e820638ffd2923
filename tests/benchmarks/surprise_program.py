"""Surprise's SVD on two csv files user,item,rating; prints its test RMSE: a peer of any_ratings."""

import sys

from surprise import SVD, Dataset, Reader, accuracy

SETTINGS = {
    "defaults": {},
    "tuned": dict(n_factors=50, n_epochs=40, lr_all=0.005, reg_all=0.08),  # on ml-latest-small
}

train_file, test_file, low, high, seed, setting = sys.argv[1:]
scale = (float(low), float(high))
layout = Reader(line_format="user item rating", sep=",", rating_scale=scale)
train = Dataset.load_from_file(train_file, layout).build_full_trainset()
test = Dataset.load_from_file(test_file, layout).build_full_trainset().build_testset()

model = SVD(random_state=int(seed), **SETTINGS[setting])
model.fit(train)
print(accuracy.rmse(model.test(test), verbose=False))

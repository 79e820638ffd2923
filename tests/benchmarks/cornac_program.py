"""Cornac's matrix factorization of a csv file user,item,rating, saved to be served: a peer of
serving.py. Prints the folder that its serving app loads."""

import csv
import sys

import cornac
from cornac.data import Dataset

train_file, folder, factors, epochs = sys.argv[1:]
with open(train_file, newline="") as file:
    rows = [(user, item, float(rating)) for user, item, rating in csv.reader(file)]

train = Dataset.from_uir(rows, seed=0)
model = cornac.models.MF(k=int(factors), max_iter=int(epochs), seed=0)
model.fit(train)
print(model.save(folder, save_trainset=True))

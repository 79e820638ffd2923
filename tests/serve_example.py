"""Serve an exported run with onnxruntime and NumPy: python serve_example.py EXPORT_DIR RATINGS.

RATINGS is JSON, {id: rating}: of one item by its users (an item-based run), or by one user of
items (user-based). Prints the predictions for every id as JSON.
"""

import json
import sys

import numpy as np
import onnxruntime

folder, ratings = sys.argv[1], json.loads(sys.argv[2])
meta = json.load(open(f"{folder}/metadata.json", encoding="utf-8"))
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
ids = [str(name) for name in meta["user_ids" if meta["based"] == "item" else "item_ids"]]
row = np.zeros((1, len(ids)), dtype=np.float32)
for name, rating in ratings.items():
    row[0, ids.index(name)] = rating + meta["offset"]
output = session.run(None, {meta["input"]: row})[0][0] - meta["offset"]
output = np.clip(output, *meta["scale"]) if meta["clip"] else output
print(json.dumps(dict(zip(ids, output.tolist()))))

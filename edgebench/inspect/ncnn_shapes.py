"""A process of its own: which layers ncnn does not know, and one inference on zeros, for the shape of every blob.

`python -m edgebench.inspect.ncnn_shapes PARAM BIN INPUTS ANSWER KINDS`: INPUTS is JSON, name -> shape, null where it is not
known; ANSWER is the folder to write strange.json and shapes.json to, the latter where all shapes are known; KINDS is JSON, the
kinds of the layers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(param: str, weights: str, inputs: str, answer: str, kinds: str) -> None:
    import ncnn

    strange = [kind for kind in json.loads(kinds) if ncnn.create_layer(kind) is None]
    Path(answer, "strange.json").write_text(json.dumps(strange))
    shapes = json.loads(inputs)
    if strange or None in shapes.values():
        return
    net = ncnn.Net()
    net.opt.lightmode = False  # or a blob is gone once it was read
    if net.load_param(param) or net.load_model(weights):
        sys.exit(1)
    extractor = net.create_extractor()
    for name, shape in shapes.items():
        extractor.input(name, ncnn.Mat(np.zeros(shape, np.float32)).clone())
    found = {}
    for blob in net.blobs():
        status, mat = extractor.extract(blob.name)
        if status == 0:
            found[blob.name] = list(np.array(mat).shape)
    Path(answer, "shapes.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

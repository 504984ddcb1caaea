"""A process of its own: one inference of ncnn on zeros, for the shape of every blob.

`python -m edgebench.inspect.ncnn_shapes PARAM BIN INPUTS ANSWER`: INPUTS is JSON, name -> shape; ANSWER is the file to write.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(param: str, weights: str, inputs: str, answer: str) -> None:
    import ncnn

    net = ncnn.Net()
    net.opt.lightmode = False  # or a blob is gone once it was read
    if net.load_param(param) or net.load_model(weights):
        sys.exit(1)
    extractor = net.create_extractor()
    for name, shape in json.loads(inputs).items():
        extractor.input(name, ncnn.Mat(np.zeros(shape, np.float32)).clone())
    found = {}
    for blob in net.blobs():
        status, mat = extractor.extract(blob.name)
        if status == 0:
            found[blob.name] = list(np.array(mat).shape)
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

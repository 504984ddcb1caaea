"""Read the one request, and answer it."""

import importlib
import json
import os
import sys

DO = {"hello": "hello", "ask": "stock", "take": "stock", "run": "run"}
"""Which module does what: only that one is imported, for a start counts on a slow board."""


def main(folder: str) -> None:
    workdir = os.path.abspath(folder)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    request = json.loads(line.decode())
    mark = request["mark"]

    def say(text: str) -> None:
        os.write(1, f"{mark} {text}\n".encode())

    try:
        module = importlib.import_module("runner." + DO[request["do"]])
        answer = getattr(module, request["do"])(request, workdir, say)
        if answer is not None:
            say(json.dumps(answer))
    except OSError as error:
        say(json.dumps({"error": f"{error.filename or 'the board'}: {error.strerror}"}))

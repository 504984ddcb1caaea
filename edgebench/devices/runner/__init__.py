"""The program that the host puts on a board, packed to one zipapp: standard library only, Python >= 3.6.

receive.py brings it there and calls runner.main.main(workdir). stdin is one line of JSON, the request; a line of stdout is the
request's `mark`, a blank, and JSON: what a shell's start-up files print is told apart by that. Requests:

    {"do": "hello", "modules": [...], "trees": [...]}     ->  the Python, glibc and architecture; which of the modules it has,
                                                              and with trees, what "ask" would answer: one trip for both
    {"do": "ask", "files": [...], "trees": [...]}         ->  which of them are here, whole
    {"do": "take", "file": {...} | "tree": digest}        ->  check what rsync brought, and give it its name
    {"do": "run", "job": id, "digest": ..., ...}          ->  one campaign, under the board's lock (run.py)
"""

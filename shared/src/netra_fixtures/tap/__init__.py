"""A relay between one test worker and its servers that counts what passes; a process of its own, steered over stdin.

Counting then costs the tests no time under the interpreter lock, and what the tests' child processes send is counted
too. It imports the standard library only, so that it starts at once, and ends when stdin closes or its parent dies.

The counts stand in a file that the worker maps too, named on the command line: a row of 64-bit numbers for each link,
up to date before the bytes they count are passed on. Each line of stdin is a request, each of stdout its answer (JSON):

    {"op": "link", "name": …, "protocol": one of COUNTERS, "path": …, "target": [host, port] | path, "row": …}
    {"op": "cut", "name": …, "pid": …}    closes the connections; "states": in words, of those that pid opened
    {"op": "made", "name": …}             "names": of databases that were made and not dropped
    {"op": "drop", "name": …}

The process runs this folder as the package `tap`, without `netra_fixtures` and all that it would import; so the modules
here import each other by their relative names.
"""

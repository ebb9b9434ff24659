"""Runs a stage and writes down which parameters it reads: `python recorder.py RECORD stages.train …`.

RECORD becomes a JSON list of pairs: a parameter file and the dotted key of a value that was read in it.
"""

import json
import os
import runpy
import sys
from pathlib import Path


def dotted(key, name):
    return f"{key}.{name}" if key else str(name)


class Table(dict):
    """A table of a parameter file; it adds to `told` each of its values that is read."""

    def __init__(self, values, told, file, key=""):
        self.told, self.file, self.key = told, file, key
        for name, value in values.items():
            self[name] = Table(value, told, file, dotted(key, name)) if isinstance(value, dict) else value

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if not (isinstance(value, Table) and len(value)):
            self.told.add((self.file, dotted(self.key, name)))
        return value

    def get(self, name, default=None):
        return self[name] if name in self else default  # noqa: SIM401 (it would call itself)

    def items(self):
        return [(name, self[name]) for name in self]

    def values(self):
        return [self[name] for name in self]


def plain(value):
    """`value` without the tables that tell, because checking a value is not using it."""
    return {name: plain(inner) for name, inner in dict.items(value)} if isinstance(value, dict) else value


def record(module):
    """Make `module`, which is stages/common/parameters.py, add what a stage reads to the set that is returned."""
    load, check, Block = module.load, module.check, module.Block
    dump = Block.model_dump
    told, known = set(), {}  # known: the file and the key of each class of blocks

    def learn(block, file, key):
        known[type(block)] = file, key
        for name, value in object.__getattribute__(block, "__dict__").items():
            if isinstance(value, Block):
                learn(value, file, dotted(key, name))

    def recorded_load(path=module.FILE):
        return Table(load(path), told, Path(path).as_posix())

    def recorded_check(block, values, schema, path=module.FILE):
        made = check(block, plain(values), schema, path)
        learn(made, Path(path).as_posix(), block)
        return made

    def attribute(self, name):
        value = object.__getattribute__(self, name)
        if type(self) in known and name in type(self).model_fields and not isinstance(value, Block):
            file, key = known[type(self)]
            told.add((file, dotted(key, name)))
        return value

    def recorded_dump(self, **options):
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Block):
                value.model_dump()
        return dump(self, **options)

    module.load, module.check = recorded_load, recorded_check
    Block.__getattribute__, Block.model_dump = attribute, recorded_dump
    return told


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as `python -m` does
    _, output, name, *_ = sys.argv
    sys.argv = sys.argv[2:]
    from stages.common import parameters

    told = record(parameters)
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    finally:
        Path(output).write_text(json.dumps(sorted(told)), encoding="utf-8")

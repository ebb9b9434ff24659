"""Seeing which parameters a stage reads. test_declared.py puts this where Python imports it when a stage starts.

Each line of the file RECORD is a parameter file, a dotted key and how it was met: `read` is the value, `name` only that
there is such a key, `file` the file by other means than `parameters.load`.
"""

import importlib.machinery
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

MODULE = "stages.common.parameters"
FILES = {"params.yaml", "comparison/params.yaml"}
quiet = 0  # above 0 while parameters.py or pydantic handles values: that is no use of them
told = set()
tags = {}  # id of a block: the block, so that the id stays its own, its file and its key


def tell(*line):
    if not quiet and line not in told:
        told.add(line)
        with hushed(), open(os.environ["RECORD"], "a", encoding="utf-8") as record:
            record.write(json.dumps(line) + "\n")


@contextmanager
def hushed():
    global quiet
    quiet += 1
    try:
        yield
    finally:
        quiet -= 1


def dotted(key, name):
    return f"{key}.{name}" if key else str(name)


class Table(dict):
    """Values of a parameter file that tell what is asked of them."""

    def __init__(self, values, file, key=""):
        inner = {
            name: Table(value, file, dotted(key, name)) if isinstance(value, dict) else value
            for name, value in values.items()
        }
        super().__init__(inner)
        self.file, self.key = file, key

    def tell(self, name, how="read"):
        value = super().get(name)
        tell(self.file, dotted(self.key, name), "name" if isinstance(value, Table) and value.filled else how)

    @property
    def filled(self):
        return super().__len__() > 0

    def plain(self):
        return {name: value.plain() if isinstance(value, Table) else value for name, value in super().items()}

    def __getitem__(self, name):
        self.tell(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.tell(name)
        return super().get(name, default)

    def __contains__(self, name):
        self.tell(name, "name")
        return super().__contains__(name)

    def __iter__(self):
        for name in super().__iter__():
            self.tell(name, "name")
            yield name

    def keys(self):
        return list(self)

    def values(self):
        return [self[name] for name in super().__iter__()]

    def items(self):
        return [(name, self[name]) for name in super().__iter__()]


def tag(block, file, key):
    """Let `block` and the blocks in it tell which of their fields are asked for."""
    with hushed():
        tags[id(block)] = block, file, key
        for name in type(block).model_fields:
            value = getattr(block, name)
            if id(value) not in tags and hasattr(type(value), "model_fields"):
                tag(value, file, dotted(key, name))


def leaves(values, key):
    """The dotted keys below `key` of what is no table, or an empty one."""
    if not isinstance(values, dict) or not values:
        return [key]
    return [leaf for name, value in values.items() for leaf in leaves(value, dotted(key, name))]


def record(module):
    """Let `parameters.py`, just imported as `module`, tell what the stages ask of it."""
    load, check, Block = module.load, module.check, module.Block
    dump, copy = Block.model_dump, Block.model_copy

    def recorded_load(path=module.FILE):
        with hushed():
            return Table(load(path), Path(path).as_posix())

    def recorded_check(block, values, schema, path=module.FILE):
        with hushed():
            made = check(block, values.plain() if isinstance(values, Table) else values, schema, path)
        tag(made, Path(path).as_posix(), block)
        return made

    def attribute(self, name):
        value = object.__getattribute__(self, name)
        if not quiet and id(self) in tags:
            _, file, key = tags[id(self)]
            if name == "__dict__":
                self.model_dump()
            elif name in type(self).model_fields:
                tell(file, dotted(key, name), "name" if id(value) in tags else "read")
        return value

    def recorded_dump(self, **options):
        with hushed():
            values = dump(self, **options)
        if id(self) in tags:
            _, file, key = tags[id(self)]
            for leaf in leaves(values, key):
                tell(file, leaf, "read")
        return values

    def recorded_copy(self, **options):
        with hushed():
            made = copy(self, **options)
        if id(self) in tags:
            tag(made, *tags[id(self)][1:])
        return made

    module.load, module.check = recorded_load, recorded_check
    Block.__getattribute__, Block.model_dump, Block.model_copy = attribute, recorded_dump, recorded_copy


class Finder:
    """Finds `parameters.py` as Python does, and records once it is imported."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            record(module)

        spec.loader.exec_module = exec_module
        return spec


def opened(event, arguments):
    if event == "open" and not quiet and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.relpath(os.fsdecode(arguments[0]) or ".")
        if path in FILES:
            tell(path, "", "file")


if "RECORD" in os.environ:
    sys.meta_path.insert(0, Finder)
    sys.addaudithook(opened)

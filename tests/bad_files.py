"""Ways to spoil a file, each with a name: text, bytes, places, and everything inside an HDF5 file.

A spoiler takes the path of a good file and a generator of random numbers, and changes the file in place.
"""

import codecs
import gzip
import os
import shutil

import h5py
import numpy as np

# Fields that are no number for the host, and numbers that are none of this field.
FIELDS = [
    "", " ", "nan", "NaN", "NA", "null", "None", "inf", "-Infinity", "1e999", "1_0", "1,5", "1.5.2",
    "--1", "1e", "0x1p3", "TRUE", "٣", "１", "1\u00a0", "=1+1", "#REF!", "é", "1\n2", "a\tb", "\x1b[31m1",
    "1;2", "[1]", "1+2j", "\u202e1", "1e308", "-1e308", "1e200", "9" * 400, "x" * 200_000,
]  # fmt: skip


def field(value):
    """A spoiler that puts a value into a random field below the header, quoted where that is needed."""

    def spoil(path, random):
        lines = path.read_text().split("\n")
        line = random.integers(1, len(lines) - 1)
        fields = lines[line].split(",")
        quoted = f'"{value}"' if set(value) & set(',\n"') else value
        fields[random.integers(len(fields))] = quoted
        lines[line] = ",".join(fields)
        path.write_text("\n".join(lines))

    return spoil


def name(value):
    """A spoiler that gives a random column another name."""

    def spoil(path, random):
        header, rest = path.read_text().split("\n", 1)
        names = header.split(",")
        names[random.integers(len(names))] = value
        path.write_text(",".join(names) + "\n" + rest)

    return spoil


def text(change):
    """A spoiler from a function of the lines (and the random numbers) that gives the new text."""

    def spoil(path, random):
        lines = path.read_text().rstrip("\n").split("\n")
        path.write_bytes(change(lines, random).encode("utf-8", "surrogateescape"))

    return spoil


def content(change):
    """A spoiler from a function of the bytes (and the random numbers) that gives the new bytes."""

    def spoil(path, random):
        path.write_bytes(change(path.read_bytes(), random))

    return spoil


def _flipped(data, random, times):
    data = bytearray(data)
    for place in random.integers(len(data), size=times):
        data[place] = random.integers(256)
    return bytes(data)


def _span(data, random):
    start, stop = sorted(random.integers(len(data), size=2))
    return data[:start], data[start:stop], data[stop:]


def _without_a_span(data, random):
    before, _, after = _span(data, random)
    return before + after


def _with_a_span_twice(data, random):
    before, span, after = _span(data, random)
    return before + span + span + after


BYTES = {
    "cut anywhere": content(lambda data, random: data[: random.integers(len(data))]),
    "one byte changed": content(lambda data, random: _flipped(data, random, 1)),
    "ten bytes changed": content(lambda data, random: _flipped(data, random, 10)),
    "a span lost": content(_without_a_span),
    "a span twice": content(_with_a_span_twice),
    "zeros at the end": content(lambda data, random: data + bytes(512)),
    "zeros from the middle on": content(
        lambda data, random: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    ),
    "empty": content(lambda data, random: b""),
    "noise": content(lambda data, random: random.bytes(len(data))),
    "packed with gzip": content(lambda data, random: gzip.compress(data)),
    "a pickle": content(lambda data, random: b"\x80\x04cos\nsystem\n(X\x04\x00\x00\x00exittR."),
    "ten million letters": content(lambda data, random: b"x" * 10_000_000),
    "a page of a website": content(lambda data, random: b"<!DOCTYPE html>\n<html><body>403</body>"),
    "a pointer of git": content(
        lambda data, random: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
    ),
}
TEXT = {
    **{f"field {value[:12]!r}": field(value) for value in FIELDS},
    **{
        f"name {value[:12]!r}": name(value)
        for value in (*FIELDS[:3], "KRAS", "\x1b[2J", "x" * 9999)
    },
    "UTF-16": content(lambda data, random: data.decode().encode("utf-16")),
    "Latin letters": content(lambda data, random: data + "é,1\n".encode("latin-1")),
    "two byte-order marks": content(lambda data, random: 2 * codecs.BOM_UTF8 + data),
    "old line endings": text(lambda lines, random: "\r".join(lines)),
    "semicolons": text(lambda lines, random: "\n".join(lines).replace(",", ";")),
    "tabs": text(lambda lines, random: "\n".join(lines).replace(",", "\t")),
    "decimal commas": text(lambda lines, random: "\n".join(lines).replace(".", ",")),
    "header lost": text(lambda lines, random: "\n".join(lines[1:])),
    "header twice": text(lambda lines, random: "\n".join([lines[0], *lines])),
    "first line blank": text(lambda lines, random: "\n".join(["", *lines])),
    "blank lines": text(lambda lines, random: "\n\n".join(lines)),
    "a comment": text(lambda lines, random: "\n".join(["# made by hand", *lines])),
    "commas at line ends": text(lambda lines, random: ",\n".join([*lines, ""])),
    "a row lost": text(lambda lines, random: "\n".join(lines[:-1])),
    "a row twice": text(lambda lines, random: "\n".join([*lines, lines[1]])),
    "rows of two files": text(lambda lines, random: "\n".join([*lines, *lines[1:]])),
    "turned around": text(
        lambda lines, random: "\n".join(map(",".join, zip(*(line.split(",") for line in lines)))),  # noqa: B905
    ),
    "a quote": text(lambda lines, random: "\n".join([*lines[:2], '"' + lines[2], *lines[3:]])),
    "a zero byte": text(lambda lines, random: "\n".join(lines).replace(".", "\0", 1)),
    "lower case": text(lambda lines, random: "\n".join([lines[0].lower(), *lines[1:]])),
    "numbers of rows in front": text(
        lambda lines, random: "\n".join(f"{i or ''},{line}" for i, line in enumerate(lines))
    ),
    "JSON": text(lambda lines, random: '{"a": [1, 2]}'),
    "no names": text(lambda lines, random: "\n".join([",".join("," * 8), *lines[1:]])),
}


def a_folder(path, random):
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path, random):
    path.unlink()
    path.symlink_to("nothing")


def a_link_to_itself(path, random):
    path.unlink()
    path.symlink_to(path.name)


def a_pipe(path, random):
    path.unlink()
    os.mkfifo(path)


def gone(path, random):
    path.unlink()


def a_link(path, random):
    kept = path.with_name("kept elsewhere é")
    shutil.move(path, kept)
    path.symlink_to(kept)


PLACES = {
    "a folder": a_folder,
    "a link to nothing": a_link_to_nothing,
    "a link to itself": a_link_to_itself,
    "a pipe": a_pipe,
    "gone": gone,
    "a link": a_link,
}

# What an array inside an HDF5 file may become: functions of the array and the random numbers.
ARRAYS = {
    "shorter": lambda values, random: values[:-1],
    "longer": lambda values, random: np.concatenate([values, values[:1]]),
    "empty": lambda values, random: values[:0],
    "turned around": lambda values, random: values[::-1],
    "shuffled": lambda values, random: random.permutation(values),
    "a matrix": lambda values, random: values.reshape(1, *values.shape),
    "one number": lambda values, random: np.int64(7),
    "NaN": lambda values, random: np.full(values.shape, np.nan),
    "minus one": lambda values, random: np.full(values.shape, -1),
    "half": lambda values, random: np.full(values.shape, 0.5),
    "infinite": lambda values, random: np.full(values.shape, np.inf),
    "the largest int64": lambda values, random: np.full(values.shape, 2**63 - 1),
    "the largest uint64": lambda values, random: np.full(values.shape, 2**64 - 1, np.uint64),
    "zeros": lambda values, random: np.zeros(values.shape, np.int64),
    "truths": lambda values, random: np.ones(values.shape, bool),
    "complex": lambda values, random: np.full(values.shape, 1 + 2j),
    "text": lambda values, random: np.full(values.shape, b"text"),
    "opaque": lambda values, random: np.full(values.shape, b"\x80\x04", "V2"),
    "records": lambda values, random: np.zeros(values.shape, [("a", "f8"), ("b", "i4")]),
}
ATTRIBUTES = {
    "gone": None,
    "text": "nonsense",
    "a number": 1.5,
    "negative": np.array([-1, -1]),
    "huge": np.array([2**62, 2**62]),
    "texts": np.array([b"a", b"b"]),
    "empty": h5py.Empty("f8"),
}


def spoilers_of(path, outside):
    """Every way to spoil each part of an HDF5 file: a dict by name of functions of an open file.

    `outside`: another HDF5 file, which links reach.
    """
    found = {}
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        for place in names:
            element = file[place]
            if isinstance(element, h5py.Dataset) and element.shape:
                found |= {f"{place}: {kind}": _array(place, kind) for kind in ARRAYS}
            found |= {
                f"{place} @ {attribute}: {kind}": _attribute(place, attribute, kind)
                for attribute in element.attrs
                for kind in ATTRIBUTES
            }
            found |= {
                f"{place}: gone": _link(place, None),
                f"{place}: a group": _link(place, "group"),
                f"{place}: the file itself": _link(place, "root"),
                f"{place}: a link to nothing": _link(place, h5py.SoftLink("/nothing")),
                f"{place}: a link to itself": _link(place, h5py.SoftLink(f"/{place}")),
                f"{place}: another file's": _link(place, h5py.ExternalLink(str(outside), place)),
            }
    return found


def _array(place, kind):
    def spoil(file, random):
        attributes, values = dict(file[place].attrs), file[place][()]
        del file[place]
        file[place] = ARRAYS[kind](values, random)
        for key, value in attributes.items():
            file[place].attrs[key] = value

    return spoil


def _attribute(place, attribute, kind):
    def spoil(file, random):
        del file[place].attrs[attribute]
        if ATTRIBUTES[kind] is not None:
            file[place].attrs[attribute] = ATTRIBUTES[kind]

    return spoil


def _link(place, what):
    def spoil(file, random):
        del file[place]
        if what == "group":
            file.create_group(place)
        elif what is not None:
            file[place] = file["/"] if what == "root" else what

    return spoil


def some_of(spoilers, each, random):
    """Of the spoilers of a file only `each` of every kind, at random places."""
    names = random.permutation(list(spoilers))
    kinds = [name.rpartition(": ")[2] for name in names]
    kept = [name for i, name in enumerate(names) if kinds[:i].count(kinds[i]) < each]
    return {name: spoilers[name] for name in kept}

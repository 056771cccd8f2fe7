"""Damage to a file, as a function of a random generator: what disks, networks, editors and malice do to bytes."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

NUMBERS = [
    *("0", "-1", "1", "2", "1e308", "-1e308", "1e400", "1e-320", "nan", "inf", "-inf", "NaN", "Infinity", "1_000"),
    *("0x10", "1e", "1.5", "-0.0", "9" * 5000, "1" + "0" * 30, "1e9", "4294967296", "9223372036854775808", "1D+00"),
    *("--1", "+1", "1.0.0", "１", "01", "1:2:3", "null", "true", '""', "''"),
]
TOKEN = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 10**30, 10**400, "", "x", "\ud800", "\0", "../x", "/etc/passwd", "x" * 300),
    *([], {}, [[]], {"x": 1}, float("nan"), float("inf")),
]
CHARACTERS = [
    "\x00",
    "\x0b",
    "\x1c",
    "\t",
    "\r",
    "\n",
    "_",
    "é",
    "１",
    "\u00a0",
    "\u2028",
    "#",
    ":",
    "-",
    "e",
    ".",
    " ",
]

Mutation = Callable[[bytes, random.Random], bytes]


def span(length: int, rng: random.Random, most: int = 64) -> tuple[int, int]:
    """A place and an end behind it, both within the length."""
    first = rng.randrange(length + 1)
    return first, min(length, first + rng.randint(1, rng.choice([1, 4, most, max(1, length)])))


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_byte(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[rng.randrange(len(changed))] = rng.choice([0, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed)


def set_word(content: bytes, rng: random.Random) -> bytes:
    """An integer of four or eight bytes takes an extreme value, as a damaged length would."""
    width = rng.choice([2, 4, 8])
    at = rng.randrange(max(1, len(content) - width))
    value = rng.choice([0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 2), 255])
    return content[:at] + value.to_bytes(width, "little") + content[at + width :]


def insert(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.randint(1, 16)) + content[at:]


def delete(content: bytes, rng: random.Random) -> bytes:
    first, stop = span(len(content), rng)
    return content[:first] + content[stop:]


def double(content: bytes, rng: random.Random) -> bytes:
    first, stop = span(len(content), rng)
    return content[:stop] + content[first:stop] + content[stop:]


def splice(content: bytes, rng: random.Random) -> bytes:
    """What stands at one place is written over another."""
    first, stop = span(len(content), rng)
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[first:stop] + content[at + stop - first :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def extend(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice([b"\0" * 64, b"\n", b"1.0\n", b"}", content, rng.randbytes(20)])


def replace_number(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    found = list(TOKEN.finditer(text))
    if not found:
        return set_byte(content, rng)
    match = rng.choice(found)
    new = rng.choice(NUMBERS) if rng.random() < 0.6 else change_digit(match[0], rng)
    return (text[: match.start()] + new + text[match.end() :]).encode()


def change_digit(number: str, rng: random.Random) -> str:
    places = [place for place, character in enumerate(number) if character.isdigit()]
    at = rng.choice(places)
    return number[:at] + rng.choice("0123456789") + number[at + 1 :]


def change_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(5)
    if what == 0:
        del lines[one]
    elif what == 1:
        lines.insert(other, lines[one])
    elif what == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif what == 3:
        lines[one] = b" " * rng.randint(1, 4) + lines[one]
    else:
        lines[one] = lines[one].strip()
    return b"\n".join(lines)


def insert_character(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    at = rng.randrange(len(text) + 1)
    return (text[:at] + rng.choice(CHARACTERS) + text[at + rng.randrange(2) :]).encode("utf-8", "replace")


def change_json(content: bytes, rng: random.Random) -> bytes:
    """Still JSON: a key is lost, renamed or doubled, a value has another type, or is nested without end."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return delete(content, rng)
    places = list(_places(tree))
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    holder, key = rng.choice(places)
    what = rng.randrange(8)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[rng.choice([f"{key}x", "", "../" + key, key.upper()])] = holder.pop(key)
    elif what == 2 and isinstance(holder[key], list):
        holder[key] = holder[key] * 2
    elif what == 3 and isinstance(holder[key], int | float):
        number = holder[key] if abs(holder[key]) < 1e300 else 1.0
        holder[key] = rng.choice([number + 1, -number, float(number), number * 1.5, str(number)])
    elif what == 4:
        other, name = rng.choice(places)
        holder[key] = other[name]
    else:
        holder[key] = rng.choice(VALUES)
    try:
        text = json.dumps(tree)
    except (ValueError, RecursionError):
        return b"[" * 100_000  # it holds itself
    if what == 5 and isinstance(holder, dict):
        text = text.replace(json.dumps(key) + ":", f"{json.dumps(key)}: 1, {json.dumps(key)}:", 1)
    if what == 6:
        depth = rng.choice([50, 5000, 200_000])
        text = text.replace(": ", ": " + "[" * depth + "]" * depth + ', "x": ', 1)
    return text.encode()


def _places(tree: Any) -> Any:
    """Every (container, key) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def change_yaml(content: bytes, rng: random.Random) -> bytes:
    """What YAML has and a job needs not: aliases, tags, merges, documents, nesting, doubled keys, odd scalars."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    key, colon, value = lines[at].partition(":")
    bomb = "\n".join(
        ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    )
    odd = [
        *("!!python/object/apply:os.system [true]", "!!binary é", "!!set {a, b}", "!!timestamp x", "!!float .", "&a 1"),
        *("*a", "<<: {a: 1}", "2020-01-01", "0b_", "1:59:59", ":".join(["1"] * 20_000), "0x" + "f" * 9000, "9" * 5000),
        *(
            "[" * 50,
            "[" * 5000,
            "{a: " * 3000,
            "? [a]",
            "- - - -",
            "|",
            ">",
            "'",
            '"',
            "%",
            "@",
            "`",
            "~",
            ".inf",
            ".nan",
        ),
        *("(" * 5000, "a{99999999999999}", "x" * 5000, "!!str 5", "yes", "[a, b", "{a: 1, a: 2}"),
    ]
    what = rng.randrange(6)
    if what == 0:
        lines.insert(at, bomb)
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines.insert(at, rng.choice(["---", "...", "%YAML 1.1", "<<: *a", "\t", "? x"]))
    elif what == 3 and colon:
        lines[at] = key + colon + " " + rng.choice(odd) + value
    elif colon:
        lines[at] = key + colon + " " + rng.choice(odd)
    else:
        lines[at] = rng.choice(odd)
    return "\n".join(lines).encode("utf-8", "replace")


BYTES: tuple[Mutation, ...] = (flip_bit, set_byte, set_word, insert, delete, double, splice, truncate, extend)
TEXT: tuple[Mutation, ...] = (*BYTES, replace_number, replace_number, replace_number, change_lines, insert_character)
JSON: tuple[Mutation, ...] = (*BYTES, replace_number, replace_number, insert_character, *[change_json] * 6)
YAML: tuple[Mutation, ...] = (
    *BYTES,
    replace_number,
    replace_number,
    change_lines,
    insert_character,
    *[change_yaml] * 5,
)


def mutate(content: bytes, kind: tuple[Mutation, ...], rng: random.Random) -> bytes:
    """One to three mutations, mostly one."""
    changed = content
    for _ in range(rng.choice([1, 1, 1, 1, 1, 2, 2, 3])):
        changed = rng.choice(kind)(changed, rng)
    return changed

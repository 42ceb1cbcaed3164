"""Mutate bytes, text, JSON and MP4 boxes, for fuzz.py. The same random generator gives the same result."""

import copy
import json
import struct
from random import Random

# Types of MP4 boxes whose numbers decide how much is read, and where.
BOX_TYPES = (
    b"ftyp moov mvhd trak tkhd edts elst mdia mdhd hdlr minf stbl stsd stts ctts stss stsz stsc stco co64 mdat moof "
    b"traf tfhd tfdt trun avc1 avcC hvc1 hev1 hvcC av01 av1C mp4v mp4a esds udta meta ilst free"
).split()
# Numbers at which code that counts, allocates or compares goes wrong.
NUMBERS = (0, 1, -1, 2, 7, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63, -(2**63))
# Fields of text files, most of which are not what is expected there.
FIELDS = (
    *("5", "12.5", "00:00:05", "299", "300", "9.99", "10.01") * 4,  # these often are
    "", " ", "0", "-1", "1e400", "nan", "inf", "9" * 400, "9" * 5000, "x" * 200_000, "title", "00:61:00", "1:2:3:4",
    "99999999999999999999:00:00", "../../x.mp4", "/dev/zero", "a\0b", '"', '""', '"a,b"', "\u0663", "\ud55c\uae00",
    "=1+1", "\x1b[31m", "%s%n", "{0}", "$(touch x)", "1.5.2", "+3", "0x10", "1_000", "\ufeff",
)  # fmt: skip
# JSON values that are not what is expected there.
VALUES = (
    None, True, False, 0, -1, 1, 0.5, 1e308, float("nan"), float("inf"), -float("inf"), 10**30, 10**400, "", "x",
    "../x", "a/b", "\0", "\ud800", "x" * 100_000, [], [[]], [None], {}, {"x": 1}, [1, 2, 3], [[0, 1], [2]],
    [["a", "b"]], "2020-01-01",
)  # fmt: skip


def flip_bits(content: bytes, rng: Random) -> bytes:
    """Flip one to 64 bits, close to each other or anywhere."""
    changed = bytearray(content)
    start, length = (0, len(changed)) if rng.random() < 0.5 else (rng.randrange(len(changed)), 64)
    for _ in range(2 ** rng.randrange(7)):
        changed[min(start + rng.randrange(length), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: Random) -> bytes:
    """Keep only the beginning, seldom only the end."""
    place = rng.randrange(len(content))
    return content[:place] if rng.random() < 0.8 else content[place:]


def swap_blocks(content: bytes, rng: Random) -> bytes:
    """Exchange two blocks of the same length."""
    length = rng.randint(1, max(1, len(content) // 4))
    first, second = sorted(rng.randrange(max(1, len(content) - length)) for _ in range(2))
    second = max(second, first + length)
    blocks = content[first : first + length], content[second : second + length]
    return content[:first] + blocks[1] + content[first + length : second] + blocks[0] + content[second + length :]


def repeat_or_remove_block(content: bytes, rng: Random) -> bytes:
    """Repeat a block, remove it, or fill it with one byte."""
    start = rng.randrange(len(content))
    block = content[start : start + rng.randint(1, max(1, len(content) // 8))]
    middle = rng.choice([b"", block * 2, block * 9, bytes([rng.choice([0, 255, rng.randrange(256)])]) * len(block)])
    return content[:start] + middle + content[start + len(block) :]


def set_number(content: bytes, rng: Random, place: int | None = None) -> bytes:
    """Replace 1 to 8 bytes by a number at which code goes wrong, little or big endian."""
    num_bytes = rng.choice([1, 2, 4, 8])
    place = rng.randrange(len(content)) if place is None else place
    number = rng.choice(NUMBERS) % 2 ** (8 * num_bytes)
    packed = number.to_bytes(num_bytes, rng.choice(["little", "big"]))
    return (content[:place] + packed + content[place + num_bytes :])[: len(content)]


def edit_box(content: bytes, rng: Random) -> bytes:
    """Change the size of an MP4 box, or a number in its first bytes; any number where there is no box."""
    places = [place for kind in BOX_TYPES for place in find_all(content, kind)]
    if not places:
        return set_number(content, rng)
    place = rng.choice(places)
    if rng.random() < 0.5:
        size = int.from_bytes(content[place - 4 : place], "big")
        size = rng.choice([*NUMBERS, size + 1, size - 1, size * 2, size // 2, size + 2**24]) % 2**32
        return content[: place - 4] + struct.pack(">I", size) + content[place:]
    return set_number(content, rng, place + rng.choice([0, 4, 8, 12, 16, 20, 24, 28, 32, 40]))


def find_all(content: bytes, part: bytes) -> list[int]:
    """Return the places, from the fourth byte on, at which a part occurs in bytes."""
    places, place = [], content.find(part, 4)
    while place >= 0:
        places.append(place)
        place = content.find(part, place + 1)
    return places


BYTE_MUTATIONS = (flip_bits, truncate, swap_blocks, repeat_or_remove_block, set_number)


def mutate_bytes(content: bytes, rng: Random) -> bytes:
    """Apply one to three mutations."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = rng.choice(BYTE_MUTATIONS)(content, rng) if content else b""
    return content


def mutate_video(content: bytes, rng: Random) -> bytes:
    """Apply one to three mutations, of which those of MP4 boxes are as frequent as all others."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        mutate = rng.choice([*BYTE_MUTATIONS, *[edit_box] * len(BYTE_MUTATIONS)])
        content = mutate(content, rng) if content else b""
    return content


def mutate_text(text: str, rng: Random) -> bytes:
    """Replace, remove or repeat fields and lines of comma-separated text, or save it in another encoding."""
    if rng.random() < 0.25:
        return mutate_bytes(text.encode(), rng)
    lines = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        line = rng.choice(lines)
        place = rng.randrange(len(line) or 1)
        line[place : place + rng.randrange(2)] = rng.choice([[rng.choice(FIELDS)], [rng.choice(FIELDS)], [], line * 2])
        number = rng.randrange(len(lines))
        lines[number : number + 1] = rng.choice([lines[number : number + 1]] * 3 + [[], lines[number : number + 1] * 3])
        lines = lines or [[""]]
    text = rng.choice(["\n", "\n", "\n", "\r\n", "\r", "\n\n", " \n ", ""]).join(",".join(line) for line in lines)
    encoding = rng.choice(["utf-8"] * 9 + ["utf-16", "cp949", "utf-8-sig"])
    return text.encode(encoding, errors="replace")


def mutate_json(value, rng: Random) -> bytes:
    """Replace, remove, rename or repeat values of a JSON document, or nest it deeply, or add very many values.

    Args:
        value: The document, which is not changed.
        rng: The random generator.
    """
    text = json.dumps(value)
    choice = rng.random()
    if choice < 0.2:
        return mutate_bytes(text.encode(), rng)
    if choice < 0.24:
        depth = rng.choice([10, 1000, 200_000])
        return rng.choice([b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth])
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        containers = [item for item in walk(value) if item]
        if not containers:
            break
        target = rng.choice(containers)
        key = rng.choice(list(target) if isinstance(target, dict) else range(len(target)))
        action = rng.randrange(8)
        if action == 0:
            del target[key]
        elif action == 1 and isinstance(target, dict):
            target[rng.choice([str(key) + "x", "", "\0", "y" * 50_000])] = target.pop(key)
        elif action == 2 and isinstance(target, list):
            target += [target[key]] * rng.choice([1, 3, 200])
        else:
            target[key] = copy.deepcopy(rng.choice(VALUES))
    text = json.dumps(value)
    if rng.random() < 0.03:  # a document of many small values takes 20 times its size in memory
        text = text[:-1] + (', "more": ' if text[-1] == "}" else ", ") + "[" + "[]," * rng.choice([10**6, 4 * 10**7])
        text += "0]}" if text.startswith("{") else "0]]"
    return text.encode(rng.choice(["utf-8"] * 9 + ["utf-16"]), errors="replace")


def walk(value) -> list:
    """Return all lists and dicts of a JSON document."""
    found, todo = [], [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list):
            found.append(item)
            todo += item.values() if isinstance(item, dict) else item
    return found

"""Check the strings of an untrusted HDF5 file, before the HDF5 library reads them.

The library loops for ever over some damaged heaps, and allocates as many bytes as a string claims to have. The layouts
are those of the HDF5 File Format Specification 3.0: heaps in section III.E, object headers in IV.A.1.a, messages in
IV.A.2. h5py writes them in this way unless it is asked for a newer format, for which main.py does not ask.
"""

import math
import mmap
import os
import struct
from collections.abc import Iterator

from videosummarizer.training.hdf5 import h5py

# A private mapping, which nothing writes to: drives such as those of FUSE may refuse shared ones.
MAP_ACCESS = mmap.ACCESS_COPY
# First bytes of an HDF5 global heap, which holds strings of variable length.
HEAP_SIGNATURE = b"GCOL\x01\0\0\0"
# Header of a global heap: signature, size in bytes.
HEAP_HEADER = struct.Struct("<8sQ")
# Header of an object in a global heap: index (0 for free space), reference count, reserved, size in bytes.
HEAP_OBJECT_HEADER = struct.Struct("<HHIQ")
# Beginning of a file of the first format: signature, three versions, reserved, version, sizes of offsets and lengths.
FILE_START = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08"
# Header of an object: version, reserved, number of messages, reference count, bytes of its messages, padding.
OBJECT_HEADER = struct.Struct("<BBHII4x")
# Header of a message of an object: type, size in bytes, flags, reserved.
MESSAGE_HEADER = struct.Struct("<HHB3x")
# Type of a message that says where more messages are.
CONTINUATION_TYPE = 0x10
# Type of a message that is an attribute.
ATTRIBUTE_TYPE = 0x0C
# Beginning of an attribute: version, flags, bytes of its name, of its datatype and of its dataspace.
ATTRIBUTE_HEADER = struct.Struct("<BBHHH")
# Class of the datatype of strings of variable length, in its first four bits.
VARIABLE_LENGTH_CLASS = 9
# A string of variable length in an attribute: its length, the address of its heap, its index there.
STRING = struct.Struct("<IQI")


def check_global_heaps(path: str | os.PathLike) -> None:
    """Check that the objects of each global heap in an HDF5 file end where the heap ends.

    Raises:
        ValueError: The objects of a heap do not fill it exactly.
    """
    size = os.path.getsize(path)
    if not size:
        return  # an empty file cannot be mapped; the HDF5 library refuses it later
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=MAP_ACCESS) as content:
        start = -1
        while (start := content.find(HEAP_SIGNATURE, start + 1)) >= 0:
            offset = start + HEAP_HEADER.size
            if offset > size:
                return
            end = start + HEAP_HEADER.unpack_from(content, start)[1]
            while offset + HEAP_OBJECT_HEADER.size <= min(end, size):
                index, _, _, num_bytes = HEAP_OBJECT_HEADER.unpack_from(content, offset)
                offset += num_bytes if index == 0 else HEAP_OBJECT_HEADER.size + math.ceil(num_bytes / 8) * 8
                if offset > end or (index == 0 and offset < end):
                    raise ValueError("its strings are damaged")
                if index == 0:
                    break


def check_string_lengths(path: str | os.PathLike, item: h5py.Group | h5py.Dataset) -> None:
    """Check that the strings in the attributes of an object are no longer than the file.

    Args:
        path: Path of the file.
        item: Object of the file, of which no attribute was read yet.

    Raises:
        ValueError: They are longer, or the object is stored in another format than main.py writes.
    """
    address = h5py.h5o.get_info(item.id).addr
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=MAP_ACCESS) as content:
        if content[: len(FILE_START)] != FILE_START or content[address] != 1:
            raise ValueError("it has another format than main.py writes")
        num_bytes = 0
        try:
            for start, end in attribute_spans(content, address):
                num_bytes += sum(length for length, _, _ in STRING.iter_unpack(string_bytes(content[start:end])))
        except struct.error as error:
            raise ValueError("its attributes are damaged") from error
        if num_bytes > len(content):
            raise ValueError(f"its strings claim {num_bytes} bytes, which the file does not hold")


def attribute_spans(content: mmap.mmap, address: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each attribute in the header of the object at an address."""
    _, _, _, _, num_bytes = OBJECT_HEADER.unpack_from(content, address)
    start = address + OBJECT_HEADER.size
    seen, todo = set(), [(start, start + num_bytes)]
    while todo:
        start, block_end = todo.pop()
        if start in seen:
            return  # the library refuses such a loop
        seen.add(start)
        while start + MESSAGE_HEADER.size <= min(block_end, len(content)):
            kind, size, flags = MESSAGE_HEADER.unpack_from(content, start)
            start += MESSAGE_HEADER.size
            if kind == CONTINUATION_TYPE:
                offset, length = struct.unpack_from("<QQ", content, start)
                todo.append((offset, offset + length))
            elif kind == ATTRIBUTE_TYPE:
                if flags & 2:
                    raise ValueError("it shares attributes")
                yield start, start + size
            start += size


def string_bytes(attribute: bytes) -> bytes:
    """Return the strings in an attribute as many STRING structures; empty where its values are not strings.

    Args:
        attribute: The bytes of an attribute's message, with or without padding at its end.
    """
    version, flags, *sizes = ATTRIBUTE_HEADER.unpack_from(attribute)
    if version > 1 and flags & 1:
        raise ValueError("it shares the datatypes of attributes")
    start = ATTRIBUTE_HEADER.size + (version == 3)  # the third version has the encoding of the name as well
    name_size, datatype_size, dataspace_size = (math.ceil(size / 8) * 8 if version == 1 else size for size in sizes)
    datatype_class = attribute[start + name_size : start + name_size + 1]
    if not datatype_class or datatype_class[0] & 15 != VARIABLE_LENGTH_CLASS:
        return b""
    values = attribute[start + name_size + datatype_size + dataspace_size :]
    return values[: len(values) // STRING.size * STRING.size]

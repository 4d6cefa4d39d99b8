"""What is built is hard to attack and may be put anywhere: read off the files' ELF headers.

Usage: hardening_test.py [--compiled] FILE...
  --compiled   the compiler was told to harden as well (CORF_HARDEN)
"""

import struct
import sys

DYNAMIC, GNU_STACK, GNU_RELRO, LOAD = 2, 0x6474e551, 0x6474e552, 1
EXECUTE, WRITE = 1, 2
NEEDED, STRTAB, RPATH, RUNPATH, FLAGS, FLAGS_1 = 1, 5, 15, 29, 30, 0x6ffffffb
BIND_NOW, NOW, PIE = 8, 1, 0x08000000
POSITION_INDEPENDENT = 3


class Elf:
    """A 64-bit little-endian ELF file. Source: the System V ABI, chapters 4 and 5."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        if self.bytes[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit little-endian ELF file")
        self.kind, = struct.unpack_from("<H", self.bytes, 16)
        offset, = struct.unpack_from("<Q", self.bytes, 32)
        size, count = struct.unpack_from("<HH", self.bytes, 54)
        # (type, flags, offset, address, size in the file)
        self.segments = [(*struct.unpack_from("<IIQQ", self.bytes, offset + i * size),
                          *struct.unpack_from("<Q", self.bytes, offset + i * size + 32))
                         for i in range(count)]
        self.dynamic = []
        for kind, _, start, _, length in self.segments:
            if kind == DYNAMIC:
                self.dynamic = [struct.unpack_from("<qQ", self.bytes, at)
                                for at in range(start, start + length, 16)]
        strings = self.values(STRTAB)
        self.strings = self.file_offset(strings[0]) if strings else 0

    def values(self, tag):
        return [content for found, content in self.dynamic if found == tag]

    def file_offset(self, address):
        for kind, _, offset, start, size in self.segments:
            if kind == LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"no segment holds the address {address:#x}")

    def text(self, place):
        start = self.strings + place
        return self.bytes[start:self.bytes.index(b"\0", start)].decode()

    def flags_of(self, kind):
        return [flags for found, flags, *_ in self.segments if found == kind]


def faults(elf, compiled):
    """What is wrong with a file, in words."""
    if elf.kind != POSITION_INDEPENDENT:
        yield "it is not position-independent"
    if not elf.flags_of(GNU_RELRO):
        yield "its tables of addresses stay writable"
    if not any(flags & BIND_NOW for flags in elf.values(FLAGS)) and not any(
            flags & NOW for flags in elf.values(FLAGS_1)):
        yield "functions are bound when they are first called"
    if any(flags & EXECUTE for flags in elf.flags_of(GNU_STACK)) or not elf.flags_of(GNU_STACK):
        yield "its stack can be executed"
    if any(flags & EXECUTE and flags & WRITE for flags in elf.flags_of(LOAD)):
        yield "a segment can be both written and executed"
    for tag in (RPATH, RUNPATH):
        for folder in (part for place in elf.values(tag) for part in elf.text(place).split(":")):
            if not folder.startswith("$ORIGIN"):
                yield f"it looks for libraries in '{folder}'"
    for name in map(elf.text, elf.values(NEEDED)):
        if "/" in name:
            yield f"it needs the library '{name}' by its path"
    if not compiled:
        return
    # Names of imported functions: they stand in the table of strings.
    if b"\0__stack_chk_fail\0" not in elf.bytes:
        yield "no function notices that its stack was overwritten"
    if b"_chk\0" not in elf.bytes.replace(b"\0__stack_chk_fail\0", b""):
        yield "no function of the C library knows the size of its target"


def main():
    failed = False
    compiled = "--compiled" in sys.argv
    for path in (argument for argument in sys.argv[1:] if argument != "--compiled"):
        for fault in faults(Elf(path), compiled):
            print(f"{path}: {fault}")
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

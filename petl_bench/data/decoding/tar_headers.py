"""Headers of a tar archive without compression, read one by one: no member is unpacked, nothing in them is believed.

ustar, GNU and PAX archives. Memory and time are bounded by the size of the archive, whatever its headers say.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from petl_bench.system.texts import clean

_BLOCK = 512
#: Bytes of one extended header (a long name, a set of PAX records); real ones have a few hundred.
_LONGEST_HEADER = 2**20
#: Bytes of a name: the longest path that Linux opens.
_LONGEST_NAME = 4096
#: Headers of one archive.
_MOST_MEMBERS = 2_000_000
#: Bytes behind the end mark that are looked at.
_LOOKED_BEHIND = 2**20
_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_PAX, _PAX_GLOBAL = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), tarfile.XGLTYPE
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NO_FILES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
#: Their sizes, if there are any, are no bytes in the archive.
_WITHOUT_DATA = {*_NO_FILES, tarfile.DIRTYPE}
_COMPRESSED = {b"\x1f\x8b": "gzip -d", b"\x28\xb5\x2f\xfd": "zstd -d", b"\xfd7zXZ": "xz -d", b"BZh": "bzip2 -d"}


class TarFault(Exception):  # noqa: N818 - an answer between the parts of this package, never shown as it is
    """Why no further header can be read, in one line without the name of the archive."""


class TarMember(NamedTuple):
    """One member: `name` with single slashes and without `./`, where its `size` bytes begin in the archive.

    `refused` says why it is not read, "" if it can be; `is_folder` members hold nothing.
    """

    name: str
    offset: int
    size: int
    is_folder: bool = False
    refused: str = ""


def read_headers(archive: int, size: int) -> Iterator[TarMember]:
    """The members of an archive, in their order.

    Args:
        archive: An open file's descriptor.
        size: Bytes of the archive.

    Raises:
        TarFault: The archive ends within a member, is damaged, or is none: members so far were whole.
        OSError: It cannot be read.
    """
    reader = _Reader(archive, size)
    for _ in range(_MOST_MEMBERS):
        header = reader.next_header()
        if header is None:
            return
        yield reader.member(header)
    raise TarFault(f"more than {_MOST_MEMBERS:,} members; split it")


@dataclass
class _Extended:
    """What the headers before a member's own say of it."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False


class _Reader:
    """Goes from header to header; `_at` is where the next one begins."""

    def __init__(self, archive: int, size: int) -> None:
        self._archive, self._size, self._at = archive, size, 0
        self._extended = _Extended()

    def next_header(self) -> tarfile.TarInfo | None:
        """The next member's own header, with extended ones before it taken in; None at the end mark."""
        self._extended = _Extended()
        while True:
            header = self._header()
            if header is None:
                return None
            if header.type in _PAX:
                self._take_records(self._content(header))
            elif header.type == _PAX_GLOBAL:
                self._check_global(self._content(header))
            elif header.type == _LONG_NAME:
                text = self._content(header).split(b"\0", 1)[0].decode(errors="surrogateescape")
                self._extended.name = self._extended.name or text
            elif header.type == _LONG_LINK:
                self._content(header)
            else:
                return header

    def member(self, header: tarfile.TarInfo) -> TarMember:
        """The member of a header; the next one is then that of the member behind it."""
        extended = self._extended
        name, refused = _checked_name(header.name if extended.name is None else extended.name)
        if header.type in _WITHOUT_DATA:
            refused = refused or _NO_FILES.get(header.type, "")
            return TarMember(name, self._at, 0, header.type == tarfile.DIRTYPE, refused)
        size = header.size if extended.size is None else extended.size
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_maps()
        offset = self._at
        if size < 0:
            raise TarFault(f"damaged: {_shown(name)} has a size below 0")
        if size > self._size - offset:
            there = max(0, self._size - offset)
            raise TarFault(f"cut short: of {_shown(name)}, {size:,} bytes, the first {there:,} are there")
        self._at += -(-size // _BLOCK) * _BLOCK
        if header.type == tarfile.GNUTYPE_SPARSE or extended.is_sparse:
            refused = refused or "a sparse file; pack it without --sparse"
        elif header.type not in _FILES:
            refused = refused or "of a kind that is not known"
        return TarMember(name, offset, size, False, refused)

    def _header(self) -> tarfile.TarInfo | None:
        block = os.pread(self._archive, _BLOCK, self._at)
        if len(block) < _BLOCK:
            if not self._at:
                raise TarFault("the file is empty (0 bytes)" if not block else "no tar archive")
            raise TarFault("cut short: the end mark is missing" if not block else "cut short within a header")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            if any(block):
                raise TarFault(self._why_no_header(block)) from None
            self._check_behind()
            return None
        self._at += _BLOCK
        return header

    def _why_no_header(self, block: bytes) -> str:
        if self._at:
            return f"damaged: no header at byte {self._at:,}; members from there on are not read"
        tool = next((tool for start, tool in _COMPRESSED.items() if block.startswith(start)), None)
        return f"compressed; undo that ({tool}): members are read in place" if tool else "no tar archive"

    def _check_behind(self) -> None:
        """Raise TarFault if members follow the end mark, as in archives that were put one behind another."""
        if any(os.pread(self._archive, _LOOKED_BEHIND, self._at)):
            raise TarFault(f"more follows its end mark at byte {self._at:,} (two archives in one?); it is not read")

    def _content(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= _LONGEST_HEADER:
            raise TarFault(f"damaged: an extended header of {header.size:,} bytes at byte {self._at - _BLOCK:,}")
        content = os.pread(self._archive, header.size, self._at)
        if len(content) < header.size:
            raise TarFault("cut short within a header")
        self._at += -(-header.size // _BLOCK) * _BLOCK
        return content

    def _take_records(self, content: bytes) -> None:
        for key, value in self._records(content):
            if key == b"path":
                self._extended.name = value.decode(errors="surrogateescape")
            elif key == b"size":
                if not value.isdigit() or len(value) > 20:
                    raise TarFault(f"damaged: a size that is no number in the header before byte {self._at:,}")
                self._extended.size = int(value)
            elif key.startswith(b"GNU.sparse."):
                self._extended.is_sparse = True

    def _check_global(self, content: bytes) -> None:
        """Headers for all members may say when and by whom; names and sizes for all make no sense."""
        if any(key in (b"path", b"size") or key.startswith(b"GNU.") for key, _ in self._records(content)):
            raise TarFault(f"damaged: one name or size for all members, before byte {self._at:,}")

    def _records(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        """PAX records: `length key=value` and a line end, the length that of the whole record."""
        at = 0
        while at < len(content) and content[at]:
            digits, blank, _ = content[at : at + 20].partition(b" ")
            length = int(digits) if blank and digits.isdigit() else 0
            key, equals, value = content[at + len(digits) + 1 : at + length].partition(b"=")
            if not equals or not value.endswith(b"\n") or at + length > len(content):
                raise TarFault(f"damaged: no PAX records in the header before byte {self._at:,}")
            yield key, value[:-1]
            at += length

    def _skip_sparse_maps(self) -> None:
        """An old GNU sparse file has blocks with the rest of its map before its data; the last byte used says so."""
        block, at = os.pread(self._archive, _BLOCK, self._at - _BLOCK), 482
        while len(block) == _BLOCK and block[at]:
            block, at = os.pread(self._archive, _BLOCK, self._at), 504
            self._at += _BLOCK


def _checked_name(name: str) -> tuple[str, str]:
    """A name without empty parts and `.`; and why it is refused, "" if it is not."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    plain = "/".join(parts)
    if len(plain) > _LONGEST_NAME:
        return plain[:100], f"a name of {len(plain):,} characters"
    if name.startswith("/"):
        return plain, "an absolute name"
    if ".." in parts:
        return plain, "a name with .."
    if "\0" in name:
        return plain.replace("\0", "\\0"), "a name with a NUL"
    if not plain.isascii() and any("\ud800" <= letter <= "\udfff" for letter in plain):
        return _shown(plain), "the name is not UTF-8; rename it"
    return plain, ""


def _shown(name: str) -> str:
    return clean(name[:_LONGEST_NAME].encode(errors="surrogateescape").decode(errors="backslashreplace"))

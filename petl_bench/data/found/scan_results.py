"""What `petl-bench data scan` found, kept in the cache: one line per clip, and the quarantine list that it makes.

A result holds for as long as the clip's fingerprint stays the same. Removing the file forgets every result.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.errors import StoreError
from petl_bench.system.cache import make_private, open_private, read_trusted

if TYPE_CHECKING:
    from petl_bench.data.found.fingerprints import FoundFile

_log = logging.getLogger(__name__)

_FORMAT = 1
#: A clip with fewer frames is called short: the frames that a backbone takes are then not all different ones.
SHORT_FRAMES = 8


@dataclass(frozen=True)
class ScanResult:
    """One clip that was read from end to end. `path` is relative to the data root.

    `reason` says why it cannot be read ("" if it can), `gave_up` that it took too long or ended its process, which
    may have been the machine: the next scan tries again. `remarks` are the anomalies of a clip that can be read.
    """

    path: str
    fingerprint: str
    reason: str = ""
    gave_up: bool = False
    num_frames: int = 0
    variable_rate: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def short(self) -> bool:
        """Whether a readable clip has so few frames that some must be repeated."""
        return not self.reason and self.num_frames < SHORT_FRAMES


class ScanResults:
    """The stored results of one data set under one root."""

    def __init__(self, cache_dir: Path, dataset: str, root: Path) -> None:
        from petl_bench.data.found.fingerprints import root_name

        self._head = {"petl_bench_scan": _FORMAT, "dataset": dataset, "root": str(root)}
        self.file = cache_dir / "scans" / f"{dataset}-{root_name(root)}.jsonl"

    def of(self, found: Mapping[str, FoundFile]) -> dict[str, ScanResult]:
        """The result of every clip that was scanned and has not changed since."""
        stored = self._load()
        if not stored:
            return {}
        results = ((clip, stored.get(file.file), file.fingerprint) for clip, file in found.items())
        return {clip: result for clip, result, now in results if result is not None and result.fingerprint == now}

    def quarantined(self, found: Mapping[str, FoundFile]) -> dict[str, str]:
        """Clips that cannot be read -> reason."""
        return {clip: result.reason for clip, result in self.of(found).items() if result.reason}

    @contextmanager
    def adding(self) -> Iterator[Callable[[ScanResult], None]]:
        """Gives a function that stores one result at once. Raises StoreError if the file cannot be written."""
        try:
            make_private(self.file.parent)
            usable = self._text() != ""
            if not usable:
                self.file.unlink(missing_ok=True)  # it may be another's
            with open_private(self.file, "a") as stream:
                # After a torn last line the first new one would be lost with it, hence the line end; empty lines pass.
                stream.write("\n" if usable else json.dumps(self._head) + "\n")
                yield lambda result: _write_line(stream, json.dumps(asdict(result), ensure_ascii=False))
        except OSError as error:
            raise StoreError(f"cannot write {self.file}: {error.strerror or error}; results so far are kept") from error

    def forget(self) -> None:
        """Drop every result. Raises StoreError."""
        try:
            self.file.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {self.file}: {error.strerror}") from error

    def _load(self) -> dict[str, ScanResult]:
        """Results by path, the last one of each; a line that was cut short (a crash, a full disk) is passed over."""
        results = {}
        for line in self._text().split("\n")[1:]:
            try:
                values = json.loads(line) if line else None
                if values is not None:
                    result = _result(values)
                    results[result.path] = result
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return results

    def _text(self) -> str:
        """The whole file; empty if there is none, or one of another format."""
        try:
            text = read_trusted(self.file).decode(errors="replace")
            head: Any = json.loads(text.partition("\n")[0])
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            _log.warning("%s: not usable (%s); no clip counts as scanned", self.file, reason)
            return ""
        return text if head == self._head else ""


def _result(values: dict[str, Any]) -> ScanResult:
    """The result that a line holds. Raises KeyError, TypeError."""
    result = ScanResult(**{**values, "remarks": tuple(map(str, values["remarks"]))})
    if not all(isinstance(text, str) for text in (result.path, result.fingerprint, result.reason)):
        raise TypeError("a path, a fingerprint or a reason that is no text")
    if not isinstance(result.num_frames, int):
        raise TypeError("a number of frames that is no number")
    return result


def _write_line(stream: Any, line: str) -> None:
    stream.write(line + "\n")

"""Reading every frame of clips, in processes of their own: a decoder that hangs or dies costs one clip and no more."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

from pebble import ProcessExpired, ProcessPool

from petl_bench.data.decoding.clips import FRAMES, DecodedClip, read_clip
from petl_bench.data.decoding.frames_reader import list_frames
from petl_bench.data.decoding.orientation import UPRIGHT, Orientation, of_frame
from petl_bench.data.decoding.still_pictures import read_image
from petl_bench.data.decoding.video_stream import DecodeFailure, best_video_stream, open_container, short_words
from petl_bench.data.found.fingerprints import FoundFile
from petl_bench.data.found.scan_results import ScanResult, ScanResults
from petl_bench.errors import DataError
from petl_bench.system.processes import clean_context

#: Frames that are read as a run reads them, spread over the clip with both ends.
_CHECKED_FRAMES = 8
#: Clips that one process reads before it is replaced, so that what a decoder leaks does not add up.
_CLIPS_PER_PROCESS = 1000
#: Frames come at a variable rate if some gap differs from the median one by more than this part, and by more seconds
#: than the millisecond clock of Matroska rounds away.
_UNEVEN_PART, _UNEVEN_SECONDS = 0.1, 0.0015


@dataclass(frozen=True)
class Examined:
    """What reading a clip from end to end showed (see `ScanResult`)."""

    reason: str = ""
    gave_up: bool = False
    num_frames: int = 0
    variable_rate: bool = False
    remarks: tuple[str, ...] = ()


def scan_clips(
    files: Mapping[str, FoundFile], results: ScanResults, *, workers: int, timeout_s: float
) -> Iterator[ScanResult]:
    """Read files from end to end in processes; every result is stored, then yielded, in the order of completion.

    Ending the iteration early, or Ctrl-C, keeps what was stored.

    Args:
        files: The files by their paths below the root.
        results: Where results are stored.
        workers: Number of processes.
        timeout_s: Seconds after which a clip is given up.

    Raises:
        StoreError: Results cannot be stored.
    """
    with results.adding() as add:
        for path, examined in _examined({path: file.path for path, file in files.items()}, workers, timeout_s):
            result = ScanResult(path, files[path].fingerprint, **vars(examined))
            add(result)
            yield result


def examine(path: Path) -> Examined:
    """Read frames of a clip as a run does, then all of them one after the other."""
    try:
        clip = read_clip(path, _spread)
        if clip.decoder == FRAMES:
            for name in list_frames(path).names:
                read_image(path / name)
            return Examined(num_frames=clip.num_frames, remarks=(*_reason(clip), *_odd_size(clip)))
        pictures = _walk(path)
    except (DataError, DecodeFailure) as failure:
        words = str(failure).removeprefix(f"cannot read {path}: ").replace(f" {path} ", " ")
        return Examined(reason=words)
    return Examined(
        num_frames=clip.num_frames,
        variable_rate=_is_uneven(pictures.times),
        remarks=(*_reason(clip), *_odd_size(clip), *pictures.remarks(clip)),
    )


# ---------------------------------------------------------------- one clip


def _spread(num_frames: int) -> Sequence[int]:
    count = min(_CHECKED_FRAMES, num_frames)
    return [round(i * (num_frames - 1) / max(count - 1, 1)) for i in range(count)]


@dataclass
class _Walk:
    """All pictures of a file in their order: when they are shown, how many are damaged, and what ended them."""

    times: list[float]
    count: int = 0
    damaged: int = 0
    orientation: Orientation = UPRIGHT
    stopped: str = ""

    def remarks(self, clip: DecodedClip) -> Iterator[str]:
        """Their anomalies."""
        if self.orientation.words and not self.orientation.mirrored:  # mirrored ones have their reason already
            yield f"{self.orientation.words} (metadata)"
        if self.stopped:
            yield f"decoding stops after {self.count} frames: {self.stopped}"
        elif self.count != clip.num_frames:
            yield f"{clip.num_frames} frames in the file, {self.count} come out of PyAV"
        if self.damaged:
            yield f"{self.damaged} damaged frames, concealed by the decoder"


def _walk(path: Path) -> _Walk:
    """Decode every picture, and keep none: memory does not grow with the clip."""
    import av

    walk = _Walk([])
    with open_container(path) as container:
        try:
            for frame in container.decode(best_video_stream(container)):
                walk.count += 1
                walk.damaged += frame.is_corrupt
                walk.orientation, _ = of_frame(frame)
                if frame.time is not None:
                    walk.times.append(frame.time)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            walk.stopped = short_words(error)
    return walk


def _is_uneven(times: Sequence[float]) -> bool:
    # Without the first gap and the last: AVI has no times of its own, and those guessed at its ends are off.
    gaps = [later - earlier for earlier, later in pairwise(sorted(times))][1:-1]
    if not gaps:
        return False
    usual = median(gaps)
    return any(abs(gap - usual) > max(_UNEVEN_PART * usual, _UNEVEN_SECONDS) for gap in gaps)


def _reason(clip: DecodedClip) -> tuple[str, ...]:
    return (clip.reason,) if clip.reason else ()


def _odd_size(clip: DecodedClip) -> tuple[str, ...]:
    height, width = clip.frames.shape[1:3]
    return (f"odd size: {width} x {height}",) if height % 2 or width % 2 else ()


# ---------------------------------------------------------------- many clips


def _examined(paths: Mapping[str, Path], workers: int, timeout_s: float) -> Iterator[tuple[str, Examined]]:
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=_CLIPS_PER_PROCESS,
        initializer=_leave_ctrl_c_alone,
        context=clean_context(__name__),
    )
    waiting: dict[Future[Examined], str] = {}
    ahead = iter(paths.items())
    try:
        while True:
            for name, path in islice(ahead, 4 * workers - len(waiting)):
                waiting[pool.schedule(examine, args=(path,), timeout=timeout_s)] = name
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), _outcome(future, timeout_s)
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _outcome(future: Future[Examined], timeout_s: float) -> Examined:
    try:
        return future.result()
    except TimeoutError:
        return Examined(reason=f"gave up after {timeout_s:g} s", gave_up=True)
    except ProcessExpired as death:
        return Examined(reason=f"the process that read it died (exit status {death.exitcode})", gave_up=True)


def _leave_ctrl_c_alone() -> None:
    """Ctrl-C reaches every process of a terminal; the one that started these ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

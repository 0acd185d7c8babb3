"""Attention in overlapping windows on the CPU: one product for all windows against the windows one by one.

    python benchmarks/windowed_attention.py [--frames 64 256]

Windows of 16 that begin every 4 frames, with and without relative positions. `plain` is the same number of frames in
clips of 16. Milliseconds are of the process, the least of rounds in which all take turns; `apart` is the largest
difference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lvdm.modules.attention_processors import UNORDERED, AttentionMeta, FrameOrder, RelativePosition, attend
from lvdm.plugins.windows import attend_in_bands, attend_in_windows, sliding_windows

WINDOW, STRIDE, WIDTH, REPEATS = 16, 4, 32, 7
SIZES = ((256, 1), (64, 2), (16, 4))
"""Pixels and heads: the three resolutions of the embedded model."""


def shortest_times(functions: dict[str, Callable[[], Tensor | None]]) -> dict[str, float]:
    """Milliseconds of each function, the least of `REPEATS` rounds."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(REPEATS):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            found[name].append(1e3 * (time.process_time() - begin))
    return {name: min(times) for name, times in found.items()}


def row(pixels: int, heads: int, num_frames: int, relative: bool) -> str:
    """One line of the table."""
    keys, values = (RelativePosition(WIDTH, WINDOW) for _ in "kv")
    order = FrameOrder(keys=keys, values=values) if relative else UNORDERED
    whole = AttentionMeta("temporal", num_frames, order)
    q, k, v = (torch.randn(pixels, num_frames, heads, WIDTH).transpose(1, 2) for _ in "qkv")
    short = [torch.randn(pixels * num_frames // WINDOW, WINDOW, heads, WIDTH).transpose(1, 2) for _ in "qkv"]
    windows = sliding_windows(num_frames, WINDOW, STRIDE)

    def one_by_one() -> Tensor:
        return attend_in_windows(attend, q, k, v, whole, windows.frames, windows.shares)

    def at_once() -> Tensor | None:
        return attend_in_bands(q, k, v, order, windows)

    taken = shortest_times(
        {"plain": lambda: attend(short[0], short[1], short[2], whole), "windows": one_by_one, "bands": at_once}
    )
    bands = at_once()
    assert bands is not None, "random scores are within range"
    apart = (bands - one_by_one()).abs().max().item()
    return (
        f"| {num_frames} | {pixels} x {heads} | {'yes' if relative else 'no'} | {taken['plain']:.1f} ms | "
        f"{taken['windows']:.1f} ms | {taken['bands']:.1f} ms | "
        f"{taken['windows'] / taken['bands']:.1f} x | {apart:.0e} |"
    )


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 256], help="multiples of 16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| frames | pixels x heads | relative positions | plain | one by one | at once | faster | apart |")
    print("|---|---|---|---|---|---|---|---|")
    for num_frames in args.frames:
        for pixels, heads in SIZES:
            for relative in (True, False):
                print(row(pixels, heads, num_frames, relative), flush=True)


if __name__ == "__main__":
    main()

"""Two generations at once: neither sees what the other asked for, whether they share a pipeline or its weights alone.

The threads meet in the encoder, the middle and the decoder of every evaluation of the network, as long as both are at
work: what one of them leaves in a shared module while it is evaluated, the other one runs into.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from plugin_settings import METHODS, write_two_models
from safetensors.torch import load_file, save_file
from small_model import FRAMES, SIDE, picture
from torch import Tensor, nn

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime

PROMPT, PATIENCE = "a red ball moves to the right", 60.0
LARGE = {"height": 2 * SIDE, "width": 2 * SIDE}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"num_inference_steps": 5},  # at work as long as those of two steps that take them twice
    **METHODS,
    "stg": {"perturbed_guidance": "stg:scale=2,blocks=init+input+middle+output"},
    "pag": {"perturbed_guidance": "pag:scale=2,blocks=input+middle+output"},
    "chunks": {"num_frames": FRAMES + 3, "long_video": "freenoise", "chunk_frames": 2},
    "ring": {"loop": True, "num_frames": FRAMES + 2, "long_video": "cyclic"},
    "fifo": {"num_frames": FRAMES + 2, "long_video": "fifo"},
    "between": {"end_image": picture(seed=2), "between": "vibid"},
    "dispersed": {**LARGE, "scale": "scalecrafter:factor=3,until=1,damped=yes,dispersed=yes,attention=yes"},
}

HALF, OTHER_HALF = list(KINDS)[::2], list(KINDS)[1::2]


@pytest.fixture(scope="module", autouse=True)
def _one_thread_each() -> Iterator[None]:
    """Of torch's own: more threads than cores wait for each other for minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> DynamiCrafterPipeline:
    folder = write_two_models(tmp_path_factory.mktemp("checkpoints"))
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def neighbour(pipe) -> DynamiCrafterPipeline:
    """Another pipeline around the same weights."""
    runtime = Runtime(pipe.runtime.model, pipe.runtime.device, pipe.runtime.precision)
    return DynamiCrafterPipeline(runtime, pipe.card, pipe.files)


@pytest.fixture(scope="module")
def made_alone(pipe) -> dict[str, tuple[Tensor, list[bool]]]:
    """What each makes by itself, and whether the network was as before in the first times that its decoder ran."""
    unet, before = pipe.runtime.model.unet, dict[str, object]()
    unchanged: list[bool] = []

    def look(*_: object) -> None:
        if len(unchanged) < 3:  # with a weakened network, which comes second
            unchanged.append(state_of(unet) == before)

    handle = unet.output_blocks[-1][0].register_forward_pre_hook(look)
    before.update(state_of(unet))
    made = {}
    for name in KINDS:
        unchanged.clear()
        made[name] = make(pipe, name), list(unchanged)
    handle.remove()
    return made


@pytest.fixture(scope="module")
def alone(made_alone) -> dict[str, Tensor]:
    return {name: video for name, (video, _) in made_alone.items()}


def make(pipe: DynamiCrafterPipeline, name: str) -> Tensor:
    return pipe(picture(), PROMPT, **KINDS[name]).video


@contextmanager
def meeting(pipe: DynamiCrafterPipeline) -> Iterator[threading.Barrier]:
    """Within it two threads wait for each other in every evaluation, until the barrier is broken."""
    unet, barrier = pipe.runtime.model.unet, threading.Barrier(2, timeout=PATIENCE)

    def wait(*_: object) -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return  # the other one has ended

    layers = [unet.input_blocks[1][0], unet.middle_block[0], unet.output_blocks[-1][0]]
    handles = [layer.register_forward_pre_hook(wait) for layer in layers]
    try:
        yield barrier
    finally:
        for handle in handles:
            handle.remove()


def at_once(pipe: DynamiCrafterPipeline, *tasks: Callable[[], Tensor]) -> list[Tensor]:
    """The results of both tasks, each in a thread of its own."""
    with meeting(pipe) as barrier, ThreadPoolExecutor(2) as pool:

        def run(task: Callable[[], Tensor]) -> Tensor:
            try:
                return task()
            finally:
                barrier.abort()

        return [future.result() for future in [pool.submit(run, task) for task in tasks]]


def check(found: Tensor, expected: Tensor, who: str) -> None:
    assert found.shape == expected.shape, f"{who}: shape {tuple(found.shape)}, alone {tuple(expected.shape)}"
    error = (found - expected).abs().max().item()
    assert error < 1e-6, f"{who}: off by {error:.3g} from what it makes alone"


@pytest.mark.parametrize("name", KINDS)
def test_a_plain_video_and_any_method_do_not_meet(pipe, alone, name: str) -> None:
    plain, other = at_once(pipe, lambda: make(pipe, "plain"), lambda: make(pipe, name))
    check(plain, alone["plain"], f"plain beside {name}")
    check(other, alone[name], f"{name} beside plain")


@pytest.mark.parametrize("name", KINDS)
def test_the_network_holds_nothing_but_weights_while_a_method_is_at_work(made_alone, name: str) -> None:
    unchanged = made_alone[name][1]
    assert unchanged, "nobody looked"
    assert all(unchanged), f"{name} changed a module, seen in evaluations {unchanged}"


def state_of(network: nn.Module) -> dict[str, object]:
    """What a method might have set: attributes, and which tensors and functions are in which module."""
    state: dict[str, object] = {}
    for name, module in network.named_modules():
        for key, value in vars(module).items():
            held = (
                {k: (id(v), getattr(v, "_version", None)) for k, v in value.items()}
                if isinstance(value, dict)
                else value
            )
            state[f"{name}.{key}"] = held if isinstance(held, dict | bool | int | float | str | tuple) else id(held)
    return state | {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("name", "next_name"), list(zip(HALF, OTHER_HALF, strict=True)))
def test_methods_in_two_pipelines_around_the_same_weights_do_not_meet(
    pipe, neighbour, alone, name: str, next_name: str
) -> None:
    one, other = at_once(pipe, lambda: make(pipe, name), lambda: make(neighbour, next_name))
    check(one, alone[name], f"{name} beside {next_name}")
    check(other, alone[next_name], f"{next_name} beside {name}")


def test_late_weights_of_two_files_do_not_meet(pipe, tmp_path) -> None:
    files = [KINDS["second_stage_unet"]["second_stage_unet"], str(tmp_path / "another.safetensors")]
    save_file({key: 0.9 * value for key, value in load_file(files[0]).items()}, files[1])
    tasks = [partial(pipe, picture(), PROMPT, second_stage_unet=file, second_stage_below=0.6) for file in files]
    expected = [task().video for task in tasks]
    assert not torch.equal(*expected)
    found = at_once(pipe, *(lambda task=task: task().video for task in tasks))
    for own, wanted, file in zip(found, expected, files, strict=True):
        check(own, wanted, file)


@pytest.mark.parametrize("name", ["free_u", "second_stage_unet", "scale", "chunks"])
def test_a_video_made_between_two_steps_of_another_is_its_own(pipe, alone, name: str) -> None:
    between: list[Tensor] = []

    def after_step(step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> None:
        if step == 1:
            between.append(make(pipe, "plain"))

    outer = pipe(picture(), PROMPT, callback_on_step_end=after_step, **KINDS[name]).video
    check(outer, alone[name], name)
    check(between[0], alone["plain"], f"plain within {name}")


def test_a_video_made_while_another_is_handed_out_is_its_own(pipe, alone) -> None:
    """Those of FIFO are sampled while they are read."""
    parts: list[Tensor] = []

    def read(stream: Iterator[Tensor]) -> None:
        for part in stream:
            parts.append(part)
            check(make(pipe, "plain"), alone["plain"], f"plain after part {len(parts)}")

    settings = KINDS["fifo"] | {"perturbed_guidance": "stg:blocks=output", "free_u": "b1=1.2"}
    whole = pipe(picture(), PROMPT, **settings).video
    pipe(picture(), PROMPT, frames_to=read, **settings)
    check(torch.cat(parts, dim=1), whole[0], "the video that is handed out")

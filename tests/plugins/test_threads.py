"""Generations at once: none sees what another asked for, whether they share a pipeline or its weights alone.

The threads meet in the encoder, the middle and the decoder of every evaluation of the network, as long as they are at
work: what one of them leaves in a shared module while it is evaluated, the others run into.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from plugin_settings import METHODS, SIDE, write_two_models
from safetensors.torch import load_file, save_file
from small_model import FRAMES, picture
from torch import Tensor, nn

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime

IMAGE, PROMPT, PATIENCE = picture(SIDE, SIDE), "a red ball moves to the right", 60.0
LARGE = {"height": 2 * SIDE, "width": 2 * SIDE}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"num_inference_steps": 5},  # at work as long as those of two steps that take them twice
    **METHODS,
    "stg": {"perturbed_guidance": "stg:scale=2,blocks=init+input+middle+output"},
    "pag": {"perturbed_guidance": "pag:scale=2,blocks=input+middle+output"},
    "chunks": {"num_frames": FRAMES + 3, "long_video": "freenoise", "chunk_frames": 2},
    "ring": {"loop": True, "num_frames": FRAMES + 2, "long_video": "cyclic"},
    "fifo": {"num_frames": FRAMES + 2, "long_video": "fifo"},
    "between": {"end_image": picture(SIDE, SIDE, seed=2), "between": "vibid"},
    "dispersed": {**LARGE, "scale": "scalecrafter:factor=3,until=1,damped=yes,dispersed=yes,attention=yes"},
}

METHOD_PAIRS = list(zip(list(KINDS)[1::2], [*list(KINDS)[2::2], "stg"], strict=False))
"""Each method of `KINDS` beside another one, the last of an odd number beside `stg`."""


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
    return pipe(IMAGE, PROMPT, **KINDS[name]).video


class Meeting:
    """Where threads wait for each other, as long as they are at work."""

    def __init__(self, threads: int) -> None:
        self.at_work, self.waiting, self.times = threads, 0, 0
        self.changed = threading.Condition()

    def wait(self) -> None:
        """Until all that are at work have come."""
        with self.changed:
            time, self.waiting = self.times, self.waiting + 1
            self._go_on()
            assert self.changed.wait_for(lambda: self.times > time, PATIENCE), "another thread does not come"

    def leave(self) -> None:
        """Let those that stay not wait for this one."""
        with self.changed:
            self.at_work -= 1
            self._go_on()

    def _go_on(self) -> None:
        if self.waiting >= self.at_work:
            self.times, self.waiting = self.times + 1, 0
            self.changed.notify_all()


def at_once(pipe: DynamiCrafterPipeline, *tasks: Callable[[], Tensor]) -> list[Tensor]:
    """The results of all tasks, each in a thread of its own, which meet in every evaluation."""
    unet, meeting = pipe.runtime.model.unet, Meeting(len(tasks))

    def run(task: Callable[[], Tensor]) -> Tensor:
        try:
            return task()
        finally:
            meeting.leave()

    layers = [unet.input_blocks[1][0], unet.middle_block[0], unet.output_blocks[-1][0]]
    handles = [layer.register_forward_pre_hook(lambda *_: meeting.wait()) for layer in layers]
    try:
        with ThreadPoolExecutor(len(tasks)) as pool:
            return [future.result() for future in [pool.submit(run, task) for task in tasks]]
    finally:
        for handle in handles:
            handle.remove()


def check(found: Tensor, expected: Tensor, who: str) -> None:
    assert found.shape == expected.shape, f"{who}: shape {tuple(found.shape)}, alone {tuple(expected.shape)}"
    error = (found - expected).abs().max().item()
    assert error < 1e-6, f"{who}: off by {error:.3g} from what it makes alone"


@pytest.mark.parametrize(("name", "next_name"), METHOD_PAIRS)
def test_two_methods_in_a_pipeline_and_a_plain_video_in_another_do_not_meet(
    pipe, neighbour, alone, name: str, next_name: str
) -> None:
    who = [(pipe, name), (pipe, next_name), (neighbour, "plain")]
    for (_, own), found in zip(who, at_once(pipe, *(partial(make, *each) for each in who)), strict=True):
        check(found, alone[own], f"{own} among {name}, {next_name} and plain")


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


def test_late_weights_of_two_files_do_not_meet(pipe, tmp_path) -> None:
    files = [KINDS["second_stage_unet"]["second_stage_unet"], str(tmp_path / "another.safetensors")]
    save_file({key: 0.9 * value for key, value in load_file(files[0]).items()}, files[1])
    tasks = [partial(pipe, IMAGE, PROMPT, second_stage_unet=file, second_stage_below=0.6) for file in files]
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
            between.append(make(pipe, "color_lock"))

    outer = pipe(IMAGE, PROMPT, callback_on_step_end=after_step, **KINDS[name]).video
    check(outer, alone[name], name)
    check(between[0], alone["color_lock"], f"a plain network within {name}")


def test_a_video_made_while_another_is_handed_out_is_its_own(pipe, alone) -> None:
    """Those of FIFO are sampled while they are read."""
    parts: list[Tensor] = []

    def read(stream: Iterator[Tensor]) -> None:
        for part in stream:
            parts.append(part)
            check(make(pipe, "color_lock"), alone["color_lock"], f"a plain network after part {len(parts)}")

    settings = KINDS["fifo"] | {"perturbed_guidance": "stg:blocks=output", "free_u": "b1=1.2"}
    whole = pipe(IMAGE, PROMPT, **settings).video
    pipe(IMAGE, PROMPT, frames_to=read, **settings)
    check(torch.cat(parts, dim=1), whole[0], "the video that is handed out")

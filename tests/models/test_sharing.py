"""Who waits for whom around one model, and who is refused."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import nn

from lvdm.models.lora_merging import LoraStack
from lvdm.models.sharing import _SHARED, SharedWeights, WeightsInUseError

PATIENCE = 30.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Spy(SharedWeights):
    """Notes what threads that ask whether they may begin are told, so that tests need no clock."""

    def __init__(self) -> None:
        super().__init__()
        self._asked, self._answers = threading.Semaphore(0), list[bool]()

    def _is_free(self, alone: bool) -> bool:
        self._answers.append(super()._is_free(alone))
        self._asked.release()
        return self._answers[-1]

    def next_answer(self) -> bool:
        """What the next one is told that asks, or the same one when it asks again."""
        assert self._asked.acquire(timeout=PATIENCE), "nobody asks"
        return self._answers.pop(0)


def generation(shared: SharedWeights, alone: bool) -> None:
    with shared.in_use(alone=alone):
        pass


@pytest.mark.parametrize(("mine", "others"), [(True, False), (True, True), (False, True)])
def test_one_that_is_to_be_alone_waits_and_is_waited_for(pool, mine: bool, others: bool) -> None:
    shared = Spy()
    with shared.in_use(alone=mine):
        assert shared.next_answer()
        other = pool.submit(generation, shared, others)
        assert not shared.next_answer(), "both are at work"
        generation(shared, mine)
        assert not shared.next_answer(), "the end of an inner generation is taken for that of the outer one"
    assert shared.next_answer(), "the turn was not given back"
    other.result(PATIENCE)


def test_two_that_need_not_be_alone_are_at_work_together(pool) -> None:
    shared, together = SharedWeights(), threading.Barrier(2, timeout=PATIENCE)

    def work() -> None:
        with shared.in_use():
            together.wait()

    for future in [pool.submit(work), pool.submit(work)]:
        future.result(PATIENCE)


def test_weights_change_between_generations_only(pool) -> None:
    shared = Spy()
    with (
        shared.in_use(),
        pytest.raises(WeightsInUseError, match="before it or when it has ended"),
        shared.changing(),
    ):
        raise AssertionError("they changed")
    assert shared.next_answer()
    begun = []

    def fail() -> None:
        with shared.changing():
            begun.append(pool.submit(generation, shared, False))
            assert not shared.next_answer(), "a generation is at work with half of a LoRA"
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert shared.next_answer(), "after an error nobody may begin"
    begun[0].result(PATIENCE)


def test_a_model_has_one_for_all_and_takes_it_along() -> None:
    model = nn.Linear(2, 2)
    assert SharedWeights.of(model) is SharedWeights.of(model)
    assert SharedWeights.of(nn.Linear(2, 2)) is not SharedWeights.of(model)
    LoraStack(model).clear()
    gc.collect()
    before = len(_SHARED)
    del model
    gc.collect()
    assert len(_SHARED) == before - 1, "the model is held for ever"

import itertools

import numpy as np
import pytest

from forehand.data.sampling import ShuffledBatches


def take(batches: ShuffledBatches, count: int) -> list[list[int]]:
    return [indices.tolist() for _, indices in itertools.islice(batches, count)]


def test_every_epoch_visits_everything_once_in_another_order():
    order = np.concatenate(take(ShuffledBatches(10, 4, seed=3), 10))  # 40 draws: four epochs, batches across their ends
    epochs = order.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_may_be_larger_than_the_data():
    assert sorted(take(ShuffledBatches(3, 6, seed=0), 1)[0]) == [0, 0, 1, 1, 2, 2]


def test_it_resumes_exactly_where_it_stopped():
    whole = take(ShuffledBatches(23, 5, seed=1), 20)
    first = ShuffledBatches(23, 5, seed=1)
    take(first, 8)
    second = ShuffledBatches(23, 5, seed=99)
    second.load_state_dict(first.state_dict())
    assert take(second, 12) == whole[8:]
    assert ShuffledBatches(23, 5, seed=1).at(13).tolist() == whole[13]


def test_another_seed_is_another_order():
    assert take(ShuffledBatches(50, 5, seed=1), 3) != take(ShuffledBatches(50, 5, seed=2), 3)


def test_it_does_not_resume_on_other_data():
    with pytest.raises(ValueError, match="size was 23 and is now 24"):
        ShuffledBatches(24, 5, seed=1).load_state_dict(ShuffledBatches(23, 5, seed=1).state_dict())

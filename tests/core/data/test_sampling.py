import numpy as np

from forehand.data.sampling import ShuffledBatches


def take(batches: ShuffledBatches, count: int) -> list[list[int]]:
    return [batches.at(step).tolist() for step in range(count)]


def test_every_epoch_visits_everything_once_in_another_order():
    order = np.concatenate(take(ShuffledBatches(10, 4, seed=3), 10))  # 40 draws: four epochs, batches across their ends
    epochs = order.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_may_be_larger_than_the_data():
    assert sorted(take(ShuffledBatches(3, 6, seed=0), 1)[0]) == [0, 0, 1, 1, 2, 2]


def test_a_batch_follows_from_seed_and_step_alone():
    batches = ShuffledBatches(23, 5, seed=1)
    forwards = take(batches, 20)
    assert [batches.at(step).tolist() for step in reversed(range(20))] == forwards[::-1]
    assert ShuffledBatches(23, 5, seed=1).at(13).tolist() == forwards[13]


def test_another_seed_is_another_order():
    assert take(ShuffledBatches(50, 5, seed=1), 3) != take(ShuffledBatches(50, 5, seed=2), 3)

"""A session computes each token once where that is exact, and always says what the whole window would."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from forehand.compose import Backbone, Layout, TokenGroup
from forehand.compose.losses import composition_loss
from forehand.compose.plans import Plans
from forehand.conformance import example
from forehand.conformance.example import CONTRACT
from forehand.utils.images import resize

FINE_TUNING = {}
PRE_TRAINING = {"reads.foresight.state": "+2", "reads.action": {"images": "same", "foresight": "same"}}
BLIND = {"reads.action.foresight": None}
WITHOUT_FORESIGHT = {"world_model": None}
NOW_ALONE = {
    "reads.observation": {"observation": "same"},
    "reads.foresight": {"observation": "same"},
    "reads.action": {"foresight": "same"},
}
ALL_FORESIGHT = {"reads.action.foresight": "past"}
DREAMS_GO_ON = {"reads.foresight.foresight": "past", "reads.action.foresight": None}
IMAGES_READ_AHEAD = {"reads.images": {"state": "+1"}}
DREAMS_READ_AHEAD = {"reads.foresight.state": "+1", "reads.action.foresight": "past"}

EXACT = [FINE_TUNING, PRE_TRAINING, BLIND, WITHOUT_FORESIGHT, NOW_ALONE, ALL_FORESIGHT, DREAMS_GO_ON]
INEXACT = [IMAGES_READ_AHEAD, DREAMS_READ_AHEAD]
INSTRUCTIONS = ["lift the red block", "push the green block", "stack the blue block"]


WORDS = {"encoders.text": {"name": "example/words"}}
WORDS_EACH_FRAME = {"encoders.text": {"name": "example/words", "scope": "frame"}}
AT_ONE_TIMESTEP = {**WORDS, "history": 1}
WORDS_READ_ALONE = {**WORDS, "reads.text": {"text": "past"}, "reads.images": {"images": "past"}}
SPOKEN = [WORDS, WORDS_EACH_FRAME, AT_ONE_TIMESTEP, WORDS_READ_ALONE, {**WORDS, **PRE_TRAINING}, {**WORDS, **NOW_ALONE}]


class Recomputed:
    """A session beside which the whole window is recomputed at every step, by the path that training takes."""

    def __init__(self, policy, instruction, seed):
        self.policy, self.session, self.seen = policy, policy.open(instruction), []
        self.generator = np.random.default_rng(seed)

    def look(self):
        self.seen.append(example.observation(CONTRACT, self.generator, 0.0))
        del self.seen[: -self.policy.history]
        return self.seen[-1]

    def reset(self, instruction=None):
        self.session.reset(instruction)
        self.seen.clear()

    @torch.no_grad()
    def check(self, answer):
        def images(camera):
            return torch.from_numpy(resize(np.stack([o.images[camera] for o in self.seen]), self.policy.image_size))[None]

        readouts = self.policy.readouts(
            {
                **{f"images.{c}": images(c) for c in ("static", "wrist")},
                "state": torch.from_numpy(np.stack([o.state for o in self.seen]))[None],
                "instruction": [self.session.instruction],
            }
        )
        actions = self.policy.action_head(readouts["action"][:, -1])[0]
        torch.testing.assert_close(torch.from_numpy(answer.actions), actions, rtol=1e-5, atol=1e-5)
        if answer.forecast:
            now = {c: images(c)[:, -1] for c in answer.forecast}
            expected = self.policy.world_model.decode_images(readouts["foresight"][:, -1], now)
            for camera, picture in answer.forecast.items():
                assert np.abs(expected[camera][0].numpy().astype(int) - picture).max() <= 1  # of 255


def runs_of(policy):
    """(sessions, tokens) of every run of the backbone from now on."""
    runs = []
    policy.backbone.norm.register_forward_pre_hook(lambda _, given: runs.append(tuple(given[0].shape[:2])))
    return runs


class WithoutMemory(Backbone):
    """What a third party's backbone may be: it runs whole sequences."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens, timesteps, mask):
        assert timesteps.shape == tokens.shape[1:2]
        return self.inner(tokens, timesteps, mask)


@pytest.mark.slow
@pytest.mark.parametrize("remembering", [True, False])
@pytest.mark.parametrize("reads", EXACT + INEXACT + SPOKEN)
def test_sessions_of_any_age_say_what_their_whole_window_says(make_policy, reads, remembering):
    policy = make_policy(reads)
    if not remembering:
        policy.backbone = WithoutMemory(policy.backbone)
    robots = [Recomputed(policy, text, seed) for seed, text in enumerate(INSTRUCTIONS)]
    steps = [(0,), (0, 1), (2, 1, 0), (0, 1, 2), (1, 2), (2, 0, 1), (1, 0), (0, 1, 2), (0, 1, 2), (2, 1, 0), (0, 1, 2)]
    for step, present in enumerate(steps):
        if step == 4:
            robots[2].reset()
        if step == 6:
            robots[1].reset("put the blue block aside")
        here = [robots[i] for i in present]
        foreseen = step % 3 == 1
        answers = policy.step([r.session for r in here], [r.look() for r in here], forecast=foreseen)
        for robot, answer in zip(here, answers, strict=True):
            robot.check(answer)
            assert bool(answer.forecast) == (foreseen and policy.world_model is not None)


@pytest.mark.parametrize(
    ("reads", "tokens"),  # observation: 6 a timestep, foresight: 2, action: 2; the history is 4
    [
        (FINE_TUNING, [10, 10, 10, 10, 28, 28]),
        (PRE_TRAINING, [10, 10, 10, 10, 28, 28]),  # there is no goal at run time, so nobody reads ahead
        (BLIND, [8, 8, 8, 8, 26, 26]),
        (NOW_ALONE, [10] * 6),
        (ALL_FORESIGHT, [10, 10, 10, 10, 34, 34]),  # of earlier timesteps' queries only foresight's are needed
        (IMAGES_READ_AHEAD, [10, 16, 22, 28, 28, 28]),
        (DREAMS_READ_AHEAD, [10, 18, 26, 34, 34, 34]),
        # The text's 4 tokens are computed once, and stand in front; observation is then 5 a timestep.
        (WORDS, [4, 9, 9, 9, 9, 24, 24]),
        (AT_ONE_TIMESTEP, [4, 9, 9, 9]),
    ],
)
def test_only_new_tokens_are_computed_while_the_window_grows(make_policy, reads, tokens):
    policy = make_policy(reads)
    runs, robot = runs_of(policy), Recomputed(policy, INSTRUCTIONS[0], 0)
    while len(runs) < len(tokens):
        policy.step([robot.session], [robot.look()])
    assert runs == [(1, count) for count in tokens]


def test_growing_sessions_of_all_ages_share_a_run_and_sliding_ones_another(make_policy):
    policy = make_policy()
    robots = [Recomputed(policy, INSTRUCTIONS[0], seed) for seed in range(4)]
    for joined in (1, 1, 2, 3):
        policy.step([r.session for r in robots[:joined]], [r.look() for r in robots[:joined]])
    runs = runs_of(policy)
    policy.step([r.session for r in robots], [r.look() for r in robots])
    assert sorted(runs) == [(1, 28), (3, 10)]


def test_a_session_remembers_no_longer_than_it_helps(make_policy):
    policy = make_policy()
    robot = Recomputed(policy, INSTRUCTIONS[0], 0)
    for remembered in (1, 2, 3, 0, 0):
        policy.step([robot.session], [robot.look()])
        assert len(robot.session.cached) == remembered
    for end in (robot.session.reset, robot.session.close):
        policy.step([robot.session], [robot.look()])
        end()
        assert not robot.session.cached
        assert not robot.session.frames


def test_a_run_that_failed_leaves_a_session_that_is_right_all_the_same(make_policy):
    policy = make_policy()
    robot = Recomputed(policy, INSTRUCTIONS[0], 0)
    for fails in (False, True, False):
        seen = robot.look()
        if fails:
            hook = policy.backbone.norm.register_forward_pre_hook(lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                policy.step([robot.session], [seen])
            hook.remove()
        else:
            (answer,) = policy.step([robot.session], [seen])
    robot.check(answer)


def test_training_computes_only_what_yields_a_loss(make_policy, window):
    policy = make_policy({**PRE_TRAINING, "backbone.layers": 1})
    runs = runs_of(policy)
    with torch.no_grad():
        loss, terms = policy(window)
        whole, whole_terms = composition_loss(policy, policy.readouts(window["observation"]), window["target"])
    assert runs == [(2, 4 * 6 + 2 * 4), (2, 4 * 6 + 4 * 4)]  # the goal is two steps ahead: the last two yield no loss
    torch.testing.assert_close(loss, whole)
    torch.testing.assert_close(terms, whole_terms)


def test_what_a_plan_leaves_out_nobody_it_holds_reads():
    groups, queries = (
        [TokenGroup("text", 1), TokenGroup("state", 2)],
        [TokenGroup("foresight", 1), TokenGroup("action", 1)],
    )
    reads = {
        "text": {"text": "same"},
        "state": {"state": "past"},
        "foresight": {"text": "same"},
        "action": {"state": "same"},
    }
    layout = Layout(groups, queries, 3, range(3))

    def names(wanted):
        found = defaultdict(list)
        for block in layout.needed(reads, wanted).blocks:
            found[block.group.name].append(block.timestep)
        return dict(found)

    assert names({"action": [1]}) == {"state": [0, 1], "action": [1]}
    assert names({"foresight": [2], "action": [0]}) == {"text": [2], "state": [0], "foresight": [2], "action": [0]}
    assert names({}) == {}
    plan = Plans(groups, queries, reads, 3).window(3, ("foresight", "action"), (1, 2), torch.device("cpu"))
    assert plan.layout.length == len(plan.timesteps) == len(plan.mask) == 2 * 1 + 3 * 2 + 2 * 2
    wanted = [plan.layout.positions(name) for name in ("foresight", "action")]
    assert plan.query_index.tolist() == np.concatenate(wanted).flatten().tolist()


@pytest.mark.parametrize("forecasts", [(False, False, False, True, False), (True, True, True, False, True, True)])
def test_a_cache_that_the_last_growing_step_could_not_use_is_dropped_when_the_window_slides(make_policy, forecasts):
    policy = make_policy(DREAMS_GO_ON)  # the cached groups depend on whether there is a forecast
    robot = Recomputed(policy, INSTRUCTIONS[0], 0)
    for forecast in forecasts:
        (answer,) = policy.step([robot.session], [robot.look()], forecast=forecast)
        robot.check(answer)


def test_a_cache_is_dropped_when_the_window_slides_after_a_frame_without_a_question(make_policy):
    policy = make_policy()
    robot = Recomputed(policy, INSTRUCTIONS[0], 0)
    for asked in (True, True, True, False, True, True):
        seen = robot.look()
        if asked:
            (answer,) = policy.step([robot.session], [seen])
            robot.check(answer)
        else:
            policy.remember(robot.session, [seen])


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ({"action": {"text": "past", "foresight": "same"}}, {"action"}),
        ({"action": {"text": "past", "action": "same"}, "foresight": {"foresight": "past"}}, {"action", "foresight"}),
        ({"foresight": {"action": "+1"}, "action": {"text": "past"}}, {"foresight"}),
        ({"look": {"foresight": "same"}, "action": {"text": "past"}}, {"action"}),
        ({"look": {"foresight": None}, "action": {"text": "past"}}, {"foresight", "action"}),
    ],
)
def test_a_plan_marks_the_queries_that_no_other_group_reads(reads, expected):
    groups = [TokenGroup("text", 1, ("look",))]
    queries = [TokenGroup("foresight", 2), TokenGroup("action", 3)]
    reads = {"text": {"text": "past"}, "foresight": {}, **reads}
    reads["foresight"] = {"text": "past", **reads["foresight"]}
    plans, names = Plans(groups, queries, reads, 3), ("foresight", "action")
    device = torch.device("cpu")
    for plan in (plans.window(2, names, (0, 1), device), plans.window(3, names, (2,), device)):
        marked = {block.group.name for block in plan.layout.blocks if plan.queries[block.start : block.stop].all()}
        assert marked == expected
        assert plan.queries.shape == plan.timesteps.shape
        assert plan.queries.sum() == sum(b.group.count for b in plan.layout.blocks if b.group.name in expected)
    if (incremental := plans.incremental(names, device)) is not None:
        kinds = [group.name in expected for group in incremental.new_groups for _ in range(group.count)]
        assert incremental.queries.tolist() == kinds


def test_frames_that_nothing_was_asked_about_are_part_of_the_history(make_policy):
    policy, generator = make_policy(), np.random.default_rng(3)
    frames = [example.observation(CONTRACT, generator, 0.0) for _ in range(7)]
    seldom, always = policy.open(INSTRUCTIONS[0]), policy.open(INSTRUCTIONS[0])
    for *between, newest in (frames[:2], frames[2:]):
        policy.remember(seldom, between)
        (asked,) = policy.step([seldom], [newest])
        for frame in (*between, newest):
            (expected,) = policy.step([always], [frame])
        np.testing.assert_allclose(asked.actions, expected.actions, atol=1e-6)

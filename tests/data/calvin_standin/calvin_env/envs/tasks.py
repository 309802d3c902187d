"""Success conditions of what the world has: doors that moved by as much as asked, and lights that changed."""


class Tasks:
    def __init__(self, tasks):
        self.tasks = tasks

    def get_task_info_for_set(self, start_info, end_info, task_filter):
        return {task for task in task_filter if self._done(start_info["scene_info"], end_info["scene_info"], task)}

    def _done(self, start, end, task):
        condition, name, *numbers = self.tasks[task]
        if condition == "toggle_light":
            return [info["lights"][name]["logical_state"] for info in (start, end)] == numbers
        if condition != "move_door_rel":
            return False
        moved = end["doors"][name]["current_state"] - start["doors"][name]["current_state"]
        return moved > numbers[0] > 0 or moved < numbers[0] < 0

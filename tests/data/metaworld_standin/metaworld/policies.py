from collections import defaultdict

import numpy as np


class Policy:
    def get_action(self, seen):
        return np.append(20 * (seen[-3:] - seen[:3]), 0.5)


ENV_POLICY_MAP = defaultdict(lambda: Policy)

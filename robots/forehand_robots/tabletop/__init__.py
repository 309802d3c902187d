"""The embedded simulator: an arm with the Panda's kinematics at a table with three coloured blocks.

Importing it chooses a renderer, which has to happen before MuJoCo is imported.
"""

from forehand_robots.tabletop.rendering import choose_renderer

choose_renderer()

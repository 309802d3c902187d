"""Simulated Panda arm: kinematics, physics, cameras, and a robot for any scene.

Importing it chooses a renderer, which has to happen before MuJoCo is imported.
"""

from forehand.utils.rendering import choose_renderer

choose_renderer()

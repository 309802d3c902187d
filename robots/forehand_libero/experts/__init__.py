"""Scripted experts of LIBERO on privileged poses: geometry of the scene, grasps, motions, skills, and plans of tasks."""

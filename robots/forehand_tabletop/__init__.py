"""Embedded simulators: an arm with the Panda's kinematics at a table, with three blocks or with 32 tasks in chains.

Importing its parts chooses a renderer, which has to happen before MuJoCo is imported.
"""

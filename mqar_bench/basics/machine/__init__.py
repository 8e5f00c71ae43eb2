"""This machine as this process finds it: its hardware, its packages and code, its disks; and commands that may hang.

Imports nothing of this package, so that all of it may ask here.
"""

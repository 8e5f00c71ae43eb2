"""Whether a mixer keeps the contract: a function a property, each of which says in one line what is wrong and where.

``check`` has the list of them and goes through it; ``subject`` says how the mixer is made and what is put in.
"""

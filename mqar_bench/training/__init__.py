"""From a config to a trained model: data, model, the loop, checkpoints, weights.

Import from its modules; ``loop`` has ``run``, which gives a record, and ``fit``, which gives the model too.
"""

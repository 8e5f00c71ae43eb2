"""What runs leave: the result, the store of files, merging and packing, the tidy table.

Import from its modules: ``result``, ``store``, ``archive``, ``table``.
"""

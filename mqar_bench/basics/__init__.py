"""What everything else stands on: frozen settings, the user's mistakes, whole files, the machine, tables on a terminal.

Import from its modules: ``frozen``, ``errors``, ``files``, ``machine``, ``console``. They import nothing of ours.
"""

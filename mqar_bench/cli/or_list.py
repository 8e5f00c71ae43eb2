"""Commands of which one need not be named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from mqar_bench.cli.app import Once
from mqar_bench.cli.complete import IMPLIED

#: What `mqar-bench results` does where its first word is none of its commands.
DEFAULT = "list"


class OrList(Once, TyperGroup):
    """Commands of which ``list`` need not be named: an unknown first word is its argument or option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DEFAULT, *args]
            ctx.meta[IMPLIED] = True
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help has the arguments and options of ``list`` too, as they can be given here."""
        own = self.params
        self.params = [*own, *self.commands[DEFAULT].params]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = own

"""What a command cannot do without, asked for at once."""

import typer
from typer.core import TyperCommand

from jaxdiff.stop import BAD_INPUT


class AsksAtOnce(TyperCommand):
    """A command that names all required options that are missing, not the first alone."""

    def parse_args(self, ctx, args):
        """As every command, after a look at what is missing."""
        given = {word.partition("=")[0] for word in args}
        missing = [
            option.opts[0]
            for option in self.params
            if option.param_type_name == "option"
            and option.required
            and not given & {*option.opts}
        ]
        if len(missing) > 1 and "--help" not in given and not ctx.resilient_parsing:
            text = f"{', '.join(missing[:-1])} and {missing[-1]}"
            typer.echo(f"error: {ctx.command_path} needs {text}; see --help.", err=True)
            raise typer.Exit(BAD_INPUT)
        return super().parse_args(ctx, args)

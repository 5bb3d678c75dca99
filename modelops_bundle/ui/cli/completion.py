"""`bundle completion SHELL`."""

from __future__ import annotations

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.ui.cli.command import Context, command

PROGRAM = "bundle"
VARIABLE = "_BUNDLE_COMPLETE"
"""What the script sets when it calls us; the value says what it wants."""

SHELLS = ("bash", "zsh", "fish")

_EXAMPLE = """\
bundle completion bash > ~/.local/share/bash-completion/completions/bundle
bundle completion zsh > "${fpath[1]}/_bundle"
bundle completion fish > ~/.config/fish/completions/bundle.fish"""


@command("completion", example=_EXAMPLE)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(context: Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    Write it where the shell looks for completions, as below, and open a new shell. To try it in the present one:
    `eval "$(bundle completion bash)"`, or `bundle completion fish | source`.
    """
    script = source(shell)
    context.out.result({"shell": shell, "script": script}, script.splitlines())


def source(shell: str) -> str:
    """The script for `shell`."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise UsageError(f"no completion for {shell}", hint=f"there is one for {', '.join(SHELLS)}")
    # The script only calls the program again: which command it belongs to makes no difference to it.
    return made(click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source()

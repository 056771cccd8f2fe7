"""`docs/cli.md` has a section for every verb, with all its arguments and options, their defaults, and no others."""

import re
from pathlib import Path

import click
import pytest

from coreset.cli import main

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()
SECTIONS = {
    section.split("\n", 1)[0].strip(): section for section in re.split(r"^## coreset ", PAGE, flags=re.MULTILINE)[1:]
}
VERBS = sorted(main.commands)


def rows(verb):
    """First and second cell of each row of the verb's table, by the name of the option or argument."""
    found = {}
    for line in SECTIONS[verb].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        name = re.match(r"`(--[a-z-]+|[A-Z]+)[^`]*`$", cells[0])
        if line.startswith("|") and name:
            assert name[1] not in found, f"{name[1]} twice"
            found[name[1]] = (cells[0].strip("`"), cells[1].strip("`"))
    return found


def parameters(verb):
    for parameter in main.commands[verb].params:
        if isinstance(parameter, click.Option):
            yield parameter.opts[0], parameter
        else:
            yield parameter.make_metavar(click.Context(main.commands[verb])).strip("[].…"), parameter


def test_has_a_section_for_every_verb():
    assert sorted(SECTIONS) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_names_every_option_and_no_other(verb):
    assert sorted(rows(verb)) == sorted(name for name, _ in parameters(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_states_the_true_defaults(verb):
    for name, parameter in parameters(verb):
        shown, default = rows(verb)[name]
        if parameter.required:
            assert default == "required", name
        elif getattr(parameter, "is_flag", False):
            assert (shown, default) == (name, "–"), name
        elif isinstance(parameter.default, str | int | float):
            assert default == str(parameter.default), name


def test_options_in_prose_exist():
    known = {option for command in main.commands.values() for option in (p.opts[0] for p in command.params)}
    for text in (PAGE, *(path.read_text() for path in Path(__file__).parents[2].glob("docs/*.md"))):
        code = [*re.findall(r"`([^`\n]*)`", text), *re.findall(r"^(?:\$ )?(coreset .*)$", text, re.MULTILINE)]
        for span in code:
            if span.startswith(("coreset ", "--")):
                for option in re.findall(r"--[a-z-]+", span):
                    assert option in known | {"--help", "--version"}, span

"""How a parameter of the library is written on the command line.

Errors and warnings of the library name parameters in backticks: `batch_size`,
`kernel=dense`, and `train_model(resume=FOLDER)` for a training to go on with. They
quote nothing else so. A command prints --batch-size and --kernel dense.
"""

import re
from collections.abc import Mapping
from shlex import quote

# A quote stands between blanks or punctuation: no backtick in a name or a path of the user's.
QUOTED = re.compile(
    r"""(?<![^\s(])`
    (?: train_model\(resume=(?P<resumed>.*?)\)
      | (?P<name>[A-Za-z][\w-]*) (?: =(?P<value>.*?) )?
    )`(?![^\s:;,)])""",
    re.VERBOSE | re.DOTALL,
)


def flag(name: str) -> str:
    """Return the option of a parameter: num_hidden is --num-hidden, and n is -n."""
    if len(name) == 1:
        return "-" + name
    return "--" + name.replace("_", "-")


def as_command(name: str, *arguments: str, **options: str | bool) -> str:
    """Return a command of this package, to be pasted into a shell.

    Examples
    --------
    >>> as_command("recommend", "runs/mine", user="196")
    'python -m d2l_autorec.recommend runs/mine --user 196'
    """
    words = ["python", "-m", f"d2l_autorec.{name}", *map(quote, arguments)]
    return " ".join([*words, *as_words(options)])


def as_words(options: Mapping[str, str | bool]) -> list[str]:
    """Return options as they are written in a shell."""
    words = []
    for option, value in options.items():
        if isinstance(value, bool):
            words.append(flag(option if value else f"no_{option}"))
        elif value.startswith("-"):  # behind a blank it would be an option
            words.append(f"{flag(option)}={quote(value)}")
        else:
            words += [flag(option), quote(value)]
    return words


def with_flags(text: str) -> str:
    """Return a text of the library with options in the place of its parameters."""
    return QUOTED.sub(_as_option, text)


def _as_option(quoted: re.Match[str]) -> str:
    if quoted["resumed"] is not None:
        return f"python -m d2l_autorec.run --resume {quoted['resumed']}"
    if quoted["value"] == "False":
        return f"--no-{quoted['name']}"
    if quoted["value"] is not None:
        return f"{flag(quoted['name'])} {quoted['value']}"
    return flag(quoted["name"])

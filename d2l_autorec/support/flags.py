"""How a parameter of the library is written on the command line.

Errors and warnings of the library name parameters in backticks: `batch_size`,
`kernel=dense`, and `train_model(resume=FOLDER)` for a training to go on with. They
quote nothing else so. A command prints --batch-size and --kernel dense.
"""

import re

# A quote stands between blanks or punctuation: no backtick in a name or a path of the user's.
QUOTED = re.compile(
    r"""(?<![^\s(])`
    (?: train_model\(resume=(?P<resumed>.*?)\)
      | (?P<name>[A-Za-z][\w-]*) (?: =(?P<value>.*?) )?
    )`(?![^\s:;,)])""",
    re.VERBOSE | re.DOTALL,
)


def flag(name: str) -> str:
    """The option of a parameter: num_hidden is --num-hidden, and n is -n."""
    if len(name) == 1:
        return "-" + name
    return "--" + name.replace("_", "-")


def with_flags(text: str) -> str:
    """A text of the library with options in the place of its parameters."""
    return QUOTED.sub(_as_option, text)


def _as_option(quoted: re.Match[str]) -> str:
    if quoted["resumed"] is not None:
        return f"python -m d2l_autorec.run --resume {quoted['resumed']}"
    if quoted["value"] is not None:
        return f"{flag(quoted['name'])} {quoted['value']}"
    return flag(quoted["name"])

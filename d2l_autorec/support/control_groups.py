"""The control groups of this process: where a container's limits stand."""

from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def groups_of(controller: str) -> list[Path]:
    """Folders of the group of this process and of all groups above it.

    Of version 2's one hierarchy, and of version 1's that has `controller`; where the kernel says
    nothing, none. A folder need not be there.
    """
    try:
        lines = (PROC / "self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return []

    groups = []
    for line in lines:
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue

        _, controllers, path = fields
        if controllers == "":
            root = CGROUPS
        elif controller in controllers.split(","):
            root = CGROUPS / controller
        else:
            continue

        group_and_above = [path, *map(str, Path(path).parents)]
        groups += [root / group.lstrip("/") for group in group_and_above]

    return groups

"""Results as scripts read them: one JSON object on stdout."""

from __future__ import annotations

import json
from typing import Any


def print_json(value: dict[str, Any]) -> None:
    """Numbers that are not finite become null."""
    from irm_study.files import finite

    print(json.dumps(finite(value), indent=2))

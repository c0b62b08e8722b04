"""The history of a committee: means over its members, with what each of them had beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from skorch.history import History

RECORDED = ("train_task_loss", "train_scaled_task_loss", "train_dependency", "valid_task_loss")
# What the history has for every member, under these names.
MEMBER_RECORDS = tuple(f"{name}_of_members" for name in RECORDED)


def known_mean(values: Sequence[float]) -> float:
    """Mean of what is not NaN."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def known_std(values: Sequence[float]) -> float:
    """Standard deviation of what is finite; NaN of a single value, which says nothing of others."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.std(known)) if len(known) > 1 else math.nan


def history_of(history: History, members: Sequence[Any], at: Sequence[int]) -> History:
    """Return what the history would be if there had only been these members, which were at these places in it."""
    kept = History()
    best = {"train_loss": math.inf, "valid_loss": math.inf}
    for epoch in range(max(len(member.history) for member in members)):
        row = dict(history[epoch])
        own = [member.history[epoch] if epoch < len(member.history) else {} for member in members]
        for key in RECORDED:
            values = [row[f"{key}_of_members"][k] for k in at] if f"{key}_of_members" in row else []
            if any(key in of_member for of_member in own):
                row[key], row[f"{key}_of_members"] = known_mean(values), values
            else:
                row.pop(key, None), row.pop(f"{key}_of_members", None)
        if "train_dependency" not in row:
            row.pop("terms_skipped", None)
        elif "terms_skipped" in row:
            row["terms_skipped"] = sum(of_member.get("terms_skipped", 0) for of_member in own)
        for key in best:
            if key in row:
                # Of all rows, as the others are recorded by batch.
                having = [(e[key], m.rows_seen_[key[:5]]) for e, m in zip(own, members, strict=True) if key in e]
                if not having:  # loaded by skorch, which keeps none of the members
                    continue
                row[key] = sum(value * n for value, n in having) / max(1, sum(n for _, n in having))
                row[f"{key}_best"] = row[key] < best[key]
                best[key] = min(best[key], row[key])
        kept.append(row)
    return kept


def history_of_member(history: History, own: History, member: int) -> History:
    """Return the history of a member where that of the committee was loaded: its own where it has these epochs."""
    kept = History()
    for epoch, row in enumerate(history):
        values = {key: row[f"{key}_of_members"][member] for key in RECORDED if f"{key}_of_members" in row}
        known = {key: value for key, value in values.items() if not math.isnan(value)}
        there = own[epoch] if epoch < len(own) else {}
        same = all(there.get(key) == value for key, value in known.items())
        kept.append(there if same and there else {"batches": [], "epoch": epoch + 1, **known})
    return kept

"""The tables of the benchmarks: aligned text from rows, which are dictionaries."""

TEXT_COLUMNS = ("worker", "dtype", "mode", "route", "model")
WHICH = [("worker", "worker", "{}"), ("model", "model", "{}"), ("B", "batch_size", "{}"), ("type", "dtype", "{}"),
         ("mode", "mode", "{}"), ("route", "route", "{}")]
TIMES = [("min s", "min_seconds", "{:.3f}"), ("p10 s", "p10_seconds", "{:.3f}"),
         ("tokens/s", "tokens_per_s", "{:.0f}"), ("model tok/s", "predicted_tokens_per_s", "{:.0f}"),
         ("measured/model", "measured_over_predicted", "{:.2f}"), ("MFU %", "mfu_percent", "{:.1f}"),
         ("min/ours", "min_over_ours", "{:.2f}"), ("p10/ours", "p10_over_ours", "{:.2f}"),
         ("GEMM GFLOP/s", "gemm_gflops", "{:.0f}"),
         ("min/floor", "min_over_floor", "{:.2f}"), ("p10/floor", "p10_over_floor", "{:.2f}"),
         ("bf16/fp32", "bf16_over_fp32", "{:.2f}"), ("/full", "over_full", "{:.2f}"),
         ("loader %", "loader_percent", "{:.2f}"), ("restart s", "restart_seconds", "{:.3f}"),
         ("idle CPU %", "idle_cpu_percent", "{:.1f}")]


def aligned(lines, left):
    """Lines of cells as text; columns in `left` are aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) if i in left else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def table(rows, columns):
    """Aligned text; columns that no row has are left out, and so are model and batch size where all have the same."""
    def cell(row, key, form):
        if row.get(key) is None:
            return "-"
        return f"{row[key] / 2**20:.0f}" if form == "MiB" else form.format(row[key])

    one_setting = len({(row["model"], row["batch_size"]) for row in rows}) == 1
    used = [c for c in WHICH + columns if any(row.get(c[1]) is not None for row in rows) and
            not (one_setting and c[1] in ("model", "batch_size"))]
    lines = [[c[0] for c in used]] + [[cell(row, key, form) for _, key, form in used] for row in rows]
    return aligned(lines, left=[i for i, (_, key, _) in enumerate(used) if key in TEXT_COLUMNS])


def keys_of(dicts):
    """All keys, in the order in which they come first."""
    return list(dict.fromkeys(key for d in dicts for key in d))


def parts_table(rows, on_gpu):
    """Each part of the profiled step: on a CPU its share in percent, on a GPU its ms, above those that model.py predicts."""
    lines = []
    for row in rows:
        measured = row.get("part_seconds")
        if not measured:
            continue
        unit = 1e-3 if on_gpu else sum(measured.values()) / 100.0
        lines.append(dict(row, **{part: seconds / unit for part, seconds in measured.items()}))
        if "predicted_parts" in row:
            predicted = {part: seconds / unit for part, seconds in row["predicted_parts"].items()}
            lines.append(dict(row, worker="  predicted", **predicted))
    return table(lines, [(part, part, "{:.1f}") for part in keys_of(row.get("part_seconds", {}) for row in rows)])


def memory_table(rows):
    flat = [dict(row, **row["ready"].get("memory", {}), **row.get("switch", {})) for row in rows]
    categories = [c for c in keys_of(row["ready"].get("memory", {}) for row in rows) if any(row.get(c) for row in flat)]
    return table(flat, [(category, category, "MiB") for category in categories] +
                 [("planned", "planned_bytes", "MiB"), ("peak", "peak_bytes", "MiB"),
                  ("peak/plan", "peak_over_planned", "{:.3f}"), ("before switch", "before_bytes", "MiB"),
                  ("after", "after_bytes", "MiB")])

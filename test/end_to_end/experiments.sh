#!/bin/bash
# A study is trained to its end whatever interrupts it, and the report has the numbers that its runs have.
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"
python3 -c 'import ctypes.util as c, tomllib; assert c.find_library("lapack")' 2>/dev/null ||
    { echo 'no python3 with tomllib (3.11 or newer), or no LAPACK'; exit 77; }
make_shards
study=$work/study.toml runs=$work/runs
sed -e "s#data/austen/shards#$shards#" -e 's/^seeds = .*/seeds = [1, 2]/' scripts/experiments/smoke.toml >"$study"
cat >>"$study" <<'END'
[arms.diverges]
mode = "full"
lr = 1000
grad-clip = 0
max-skipped = 2

[arms.refused]
mode = "lora"
rank = 0
END
run() { python3 scripts/experiments/run.py "$@" --runs "$runs"; }
# begin_study FILE NAME: the runner in the background; $pid is its process, and what it says goes to $work/NAME.log.
begin_study() {
    python3 scripts/experiments/run.py "$1" --runs "$runs" --jobs 2 >"$work/$2.log" 2>&1 &
    pid=$!
}
count() { grep -c -- "$1" "$2" || true; }

# After a kill no process of the study is left, and the next call begins nothing that was done.
begin_study "$study" first
three_done() { [ "$(count "^done" "$work/first.log")" -ge 3 ]; }
: >"$work/first.log"
within 60 three_done || differs "no three runs done: $(tail -n 3 "$work/first.log")"
kill -KILL $pid
wait $pid 2>/dev/null || true
none_left() { ! pgrep -f -- "--out $runs/" >/dev/null; }
within 5 none_left || differs 'the killed runner has left processes'
find "$runs" -path '*/export/SHA256SUMS' -printf '%h\n' | sort >"$work/exported"
code=0
run "$study" --jobs 2 >"$work/second.log" 2>&1 || code=$?
[ "$code" -eq 1 ] || differs "the second call: exit code $code, expected 1 for the two arms that fail"
while read -r name; do
    grep -qF "$runs/$name/" "$work/exported" || differs "$name: said to be done without an export"
    ! grep -qF "begins $name" "$work/second.log" || differs "$name: was done and has begun again"
done < <(sed -nE 's/^done [^ ]* ([^:]*):.*/\1/p' "$work/first.log")
# 2 + 4 + 2 settings, a further seed of the best of each, and two seeds of each arm that fails.
grep -qx '11 of 15 runs done, 4 failed, 0 interrupted' "$work/second.log" || differs "all runs: $(tail -n 1 "$work/second.log")"
run "$study" >"$work/third.log" || true
[ "$(cat "$work/third.log")" = '11 of 15 runs done, 4 failed, 0 interrupted' ] ||
    differs "a third call: $(cat "$work/third.log")"

# The report, beside metrics.jsonl and what is computed from it here.
run "$study" --report >/dev/null
python3 - "$runs" <<'END' || differs 'the report is not what the runs are'
import glob, json, math, pathlib, re, sqlite3, sys
runs, wrong = sys.argv[1], []
db = sqlite3.connect(f'{runs}/study.sqlite')
report = pathlib.Path(runs, 'report.md').read_text()
def check(is_right, *what):
    if not is_right:
        wrong.append(' '.join(map(str, what)))
losses, seconds = {}, {}
for path in glob.glob(f'{runs}/*/metrics.jsonl'):
    name = path.split('/')[-2]
    if not name.startswith('diverges'):
        lines = [json.loads(line) for line in open(path)]
        losses[name] = [line['val_loss'] for line in lines if 'val_loss' in line][-1]
        updates = [line for line in lines if 'loss' in line]
        before = [0] + [update['tokens'] for update in updates]
        seconds[name] = sum((update['tokens'] - tokens) / update['tokens_per_s'] for tokens, update in zip(before, updates))
        for line in lines:
            if 'event' not in line:
                key = 'val_loss' if 'val_loss' in line else 'loss'
                stored = db.execute(f'SELECT {key} FROM metrics WHERE run = ? AND step = ?', (name, line['step'])).fetchall()
                check(stored == [(line[key],)], name, line['step'], key, stored)
        events = db.execute('SELECT count(*) FROM events WHERE run = ?', (name,)).fetchone()[0]
        check(events == sum('event' in line for line in lines), name, events, 'events')
means = {}
for arm in ('full', 'lora', 'relora'):
    best = min((loss, name) for name, loss in losses.items() if re.match(arm + '-.*-s1-', name))[1]
    setting = best.split('-s1-')[0]
    both = [name for name in losses if re.match(re.escape(setting) + '-s[12]-', name)]
    check(len(both) == 2, arm, both)
    mean = sum(losses[name] for name in both) / 2
    deviation = math.sqrt(sum((losses[name] - mean) ** 2 for name in both))
    means[arm] = mean
    row = next(line for line in report.splitlines() if line.startswith(f'| {arm} |')).split(' | ')
    time = sum(seconds[name] for name in both) / 2
    expected = [f'{mean:.4f}', f'{deviation:.4f}', '2', f'{mean / means["full"]:.4f}', f'{time:.3g}']
    check(row[2:7] == expected, arm, row, expected)
    tuned, _, edge = row[1].partition(' (')
    check('at the edge: lr' in edge and tuned.replace(', ', '-').replace(' ', '') == setting[len(arm) + 1:], row)
failed = db.execute("SELECT arm, message FROM runs WHERE state = 'failed' ORDER BY name").fetchall()
check([arm for arm, _ in failed] == ['diverges'] * 2 + ['refused'] * 2, failed)
check(all('is not finite' in message for arm, message in failed if arm == 'diverges'), failed)
check(all('--rank: 0 is not between' in message for arm, message in failed if arm == 'refused'), failed)
# One cycle of LoRA and three of ReLoRA, at rank 2, in a block of six linears.
ranks = {arm: re.search(rf'^\| {arm} \| (\d+) \| \S+ \| \d+ \| \d+ \(', report, re.M) for arm in means}
check(all(ranks.values()), 'no ranks')
rank = {arm: int(found[1]) for arm, found in ranks.items() if found}
check(0 < rank.get('lora', 0) <= 12 < rank.get('relora', 0) <= 36 < rank.get('full', 0), rank)
print('\n'.join(wrong), file=sys.stderr)
sys.exit(bool(wrong))
END
for figure in loss-updates loss-seconds spectrum-relora-\*; do
    # shellcheck disable=SC2086  # a pattern
    python3 -c 'import sys, xml.dom.minidom as d; d.parse(sys.argv[1])' "$runs"/$figure.svg || differs "$figure.svg is no XML"
done

# Each linear by itself: at most r for a cycle, and more than r after several.
spectrum() { python3 scripts/experiments/spectrum.py "$@"; }
relora=$(ls -d "$runs"/relora-lr0.002-s1-????????)
spectrum "$relora" 8 20 >"$work/spectrum"
awk '/^h/ { n++; if (!($2 > 2 && $2 <= 6 && $3 == 6)) exit 1 } END { if (n != 6) exit 1 }' "$work/spectrum" ||
    differs "relora's ranks are not above 2 and at most 6: $(cat "$work/spectrum")"
# One cycle has rank r, and the Frobenius norm that its merge has reported.
PYTHONPATH=scripts/experiments python3 - "$relora" <<'END' || differs 'one cycle of relora is not what its merge was'
import json, sys, spectrum
found = spectrum.spectra('./train_relora', sys.argv[1], 12, 16)
norm = sum(value * value for linear in found for value in linear.values) ** 0.5
lines = [json.loads(line) for line in open(f'{sys.argv[1]}/metrics.jsonl')]
merged = next(line['delta_norm'] for line in lines if line['step'] == 16 and 'delta_norm' in line)
ranks = {(linear.rank, linear.bound) for linear in found}
sys.exit(None if ranks == {(2, 2)} and abs(norm - merged) < 1e-5 * merged else f'{ranks}, norm {norm}, merged {merged}')
END
code=0
spectrum "$relora" 7 20 >"$work/said" 2>&1 || code=$?
{ [ "$code" -eq 2 ] && [ "$(wc -l <"$work/said")" -eq 1 ] && grep -q 'the run has those of 4, 8, 12, 16, 20' "$work/said"; } ||
    differs "no checkpoint of step 7: exit code $code, $(cat "$work/said")"

# Other options are another run; what they don't change stays done.
sed 's/^\[arms.relora\]/&\nweight-decay = 0.2/' "$study" >"$work/other.toml"
run "$work/other.toml" --plan >"$work/plan"
[ "$(count '^done *[fl]' "$work/plan") $(count '^planned *relora' "$work/plan")" = '6 2' ] ||
    differs "plan: $(cut -c1-60 "$work/plan")"

# A signal lets a run save before it ends.
sed -e '/^\[arms/,$d' -e '/^baseline/d' -e 's/^max-steps.*/max-steps = 1000000/' \
    -e 's/^save-every.*//' "$study" >"$work/long.toml"
printf '[arms.long]\nmode = "full"\n' >>"$work/long.toml"
begin_study "$work/long.toml" long
trains() { grep -q '"loss"' "$runs"/long-s1-*/metrics.jsonl 2>/dev/null; }
within 60 trains || differs "the long run does not begin: $(tail -n 1 "$work/long.log")"
kill -TERM $pid || true
code=0
wait $pid || code=$?
[ "$code" -eq 143 ] || differs "TERM: exit code $code, expected 143"
grep -q '^interrupted .*by SIGTERM: stopped by a signal' "$work/long.log" || differs "TERM: $(tail -n 2 "$work/long.log")"
ls -d "$runs"/long-s1-*/step_* >/dev/null || differs 'TERM: no checkpoint was saved'

# refused EXPECTED COMMAND…: bad input is answered with exit code 2 and one line.
refused() {
    local expected=$1 code=0
    shift
    "$@" >"$work/said" 2>&1 || code=$?
    { [ "$code" -eq 2 ] && [ "$(wc -l <"$work/said")" -eq 1 ] && grep -qF -- "$expected" "$work/said"; } ||
        differs "expected '$expected' and exit code 2, got $code: $(cat "$work/said")"
}
# refused_study EXPECTED TEXT: what a study of this text is answered with.
refused_study() {
    printf '%b\n' "$2" >"$work/bad.toml"
    refused "bad.toml: $1" run "$work/bad.toml" --plan
}
refused 'no-such.toml: No such file' run "$work/no-such.toml"
refused "--binary $work/none: No such file" run "$study" --binary "$work/none"
refused 'File exists' python3 scripts/experiments/run.py "$study" --plan --runs "$study"
mkdir "$work/damaged"
echo 'no database at all' >"$work/damaged/study.sqlite"
refused 'if it is damaged, remove it' python3 scripts/experiments/run.py "$study" --plan --runs "$work/damaged"
refused 'its --help has no --train-data' run "$study" --binary "$(type -P ls)"
refused "'0' should be a whole number" run "$study" --jobs 0
refused_study 'is not TOML' 'name = '
refused_study "'seed' is no key of a study; did you mean 'seeds'?" 'seed = 1'
refused_study 'there are no arms' 'seeds = [1]'
refused_study 'seeds is [1, 1]; it should list whole numbers' 'seeds = [1, 1]'
refused_study "arms.a: 'rnak' is no option of train_relora; did you mean 'rank'?" '[arms.a]\nrnak = 4'
refused_study "arms.a: 'out' can't be given" '[arms.a]\nout = "x"'
refused_study 'arms.a.reset-adam-step is 1; it should be true or false' '[arms.a]\nreset-adam-step = 1'
refused_study "arms.a.sweep.lr is 0.1; it should list values" '[arms.a]\nsweep = { lr = 0.1 }'
refused_study "arms.a.like: 'b' is no arm" '[arms.a]\nlike = "b"'
refused_study "arms.a.at: 'size' is no axis" '[arms.a]\nat = { size = ["small"] }'
refused_study "baseline: 'b' is no arm" 'baseline = "b"\n[arms.a]'
refused_study 'arms.a has no train-data' '[arms.a]'
finish

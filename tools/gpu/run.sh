#!/usr/bin/env bash
# Checks the CUDA engine on this machine, then times it. Everything it needs lies beside it.
#
#   ./run.sh [DEVICE] [FOLDER]   DEVICE: cuda (the default), cuda:N or emulated; FOLDER: where results go, or `results`
#
# Every step runs, even after one that failed; the last lines say which did, and the exit status is how many.
# FOLDER gets a log per step, `steps.tsv`, and `results.jsonl`, one JSON object per line: the run, every step, the
# machine, an answer, every timing.
set -uo pipefail
cd "$(dirname "$0")" || exit

device=${1-cuda}
out=$(mkdir -p "${2-results}" && cd "${2-results}" && pwd)
export MED2E3_TEST_DEVICE=$device MED2E3_GOLDEN=$PWD/golden
# The emulator, or a stand-in for the driver that runs kernels in it.
[ "$device" = emulated ] || [ -v FAKE_CUDA ] && emulated=yes || emulated=
failed=0
: >"$out/steps.tsv"

# step NAME COMMAND...: runs a command, keeps what it prints, notes time and outcome.
step() {
    local name=$1 start=$SECONDS outcome=passed
    shift
    echo "== $name"
    if ! "$@" >"$out/$name.log" 2>&1; then
        outcome=FAILED
        failed=$((failed + 1))
        tail -25 "$out/$name.log"
    fi
    printf '%s\t%s\t%d s\n' "$name" "$outcome" "$((SECONDS - start))" >>"$out/steps.tsv"
}

# skipped NAME REASON: notes a step that cannot run here.
skipped() {
    printf '%s\tnot run: %s\t0 s\n' "$1" "$2" >>"$out/steps.tsv"
}

step machine bin/engine-cli doctor --json
[ -n "$emulated" ] || step nvidia-smi nvidia-smi -q

# First the primitives: if one of them is wrong, everything built of it is.
step primitives bin/kernels-tests --test-threads=1 primitives::
step device bin/kernels-tests --test-threads=1 gpu::tests::
step ops bin/kernels-tests --test-threads=1 gpu_tests::
# A decoding step is recorded as a graph and replayed.
step graph bin/model-tests --test-threads=1 greedy_steps
step model bin/model-tests --test-threads=1 --show-output

model=$out/tiny-model
rm -rf "$model"
step make-model bin/engine-cli make-model --preset tiny --seed 1 --out "$model"
ask=(bin/engine-cli generate --model "$model" --volume golden/a/volume.npy)
ask+=(--prompt "Is there a lesion?" --max-new-tokens 16)
step shadow "${ask[@]}" --device "$device" --shadow --json
step generate "${ask[@]}" --device "$device" --json

for tool in memcheck racecheck synccheck initcheck; do
    if command -v compute-sanitizer >/dev/null && [ -z "$emulated" ]; then
        step "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            bin/kernels-tests --test-threads=1 gpu_tests::
    else
        skipped "sanitizer-$tool" "no compute-sanitizer"
    fi
done

# Timings last, on a card that is warm. The emulator's say nothing of a GPU.
rm -f "$out"/time-*.log
if [ -n "$emulated" ]; then
    step time-ops bin/ops "$device" quick advance copy embed_bert sample tgis_scores
    skipped time-stages "the emulator's times mean nothing"
    skipped make-released "nothing is timed with it"
else
    step time-ops bin/ops "$device"
    step make-released bin/engine-cli make-model --preset released --seed 1 --out "$out/released"
    step time-stages bin/profile "$out/released" "$device"
    rm -rf "$out/released"
fi

tab=$(printf '\t')
{
    printf '{"device":"%s","commit":"%s","date":"%s"}\n' "$device" "$(tr '\n' ' ' <commit)" "$(date -u +%FT%TZ)"
    sed "s/^\(.*\)$tab\(.*\)$tab\(.*\) s\$/{\"step\":\"\1\",\"outcome\":\"\2\",\"seconds\":\3}/" "$out/steps.tsv"
    cat "$out/machine.log" "$out/generate.log" "$out"/time-*.log
} | grep '^{' >"$out/results.jsonl"

table() {
    column -t -s "$tab" 2>/dev/null || cat
}
echo
table <"$out/steps.tsv"
echo
awk 'function field(name, value) {
         if (!match($0, "\"" name "\":[^,}]*")) return "-"
         value = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
         gsub(/"/, "", value)
         return value
     }
     BEGIN { print "op\tsize\tus p50\tus p99\tof memory\tof peak" }
     /"us_p50"/ {
         print field("op") "\t" field("size") "\t" field("us_p50") "\t" field("us_p99") "\t" field("of_memory") \
             "\t" field("of_peak")
     }' "$out/time-ops.log" | table
[ ! -e "$out/time-stages.log" ] || grep '"total":true' "$out/time-stages.log"
echo "results: $out/results.jsonl"
exit "$failed"

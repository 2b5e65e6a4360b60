#!/usr/bin/env bash
# Checks the CUDA engine on this machine, then times it. Everything it needs lies beside it.
#
#   ./run.sh [DEVICE] [FOLDER]   DEVICE: cuda (the default), cuda:N or emulated; FOLDER: where results go, or `results`
#
# Every step runs, even after one that failed; the last lines say which did, and the exit status is how many.
# FOLDER gets a log per step, `steps.tsv`, and `results.jsonl`: the machine, then every timing.
set -uo pipefail
cd "$(dirname "$0")"

device=${1-cuda}
out=$(mkdir -p "${2-results}" && cd "${2-results}" && pwd)
export MED2E3_TEST_DEVICE=$device MED2E3_GOLDEN=$PWD/golden
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
[ "$device" = emulated ] || step nvidia-smi nvidia-smi -q

# First the primitives: if one of them is wrong, everything built of it is.
step primitives bin/kernels-tests --test-threads=1 primitives::
step ops bin/kernels-tests --test-threads=1 gpu_tests::
step model bin/model-tests --test-threads=1 --show-output

model=$out/tiny-model
rm -rf "$model"
step make-model bin/engine-cli make-model --preset tiny --seed 1 --out "$model"
ask=(bin/engine-cli generate --model "$model" --volume golden/a/volume.npy)
ask+=(--prompt "Is there a lesion?" --max-new-tokens 16)
step shadow "${ask[@]}" --device "$device" --shadow --json
step generate "${ask[@]}" --device "$device" --json

for tool in memcheck racecheck synccheck initcheck; do
    if command -v compute-sanitizer >/dev/null && [ "$device" != emulated ]; then
        step "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            bin/kernels-tests --test-threads=1 gpu_tests::
    else
        skipped "sanitizer-$tool" "no compute-sanitizer"
    fi
done

# Timings last, on a card that is warm. The emulator's say nothing of a GPU.
if [ "$device" = emulated ]; then
    skipped stages "the emulator's times mean nothing"
else
    step stages bin/stages "$device"
fi

{
    printf '{"device":"%s","commit":"%s","date":"%s"}\n' "$device" "$(tr '\n' ' ' <commit)" "$(date -u +%FT%TZ)"
    cat "$out/machine.log"
    cat "$out/generate.log"
    [ ! -e "$out/stages.log" ] || cat "$out/stages.log"
} >"$out/results.jsonl"

echo
column -t -s "$(printf '\t')" "$out/steps.tsv" 2>/dev/null || cat "$out/steps.tsv"
[ ! -e "$out/stages.log" ] || grep '"total":true' "$out/stages.log"
echo "results: $out/results.jsonl"
exit "$failed"

#!/bin/sh
# Scan pictures before they are published: pre-publish.sh [FOLDER [REPORTS]]
# Exit 0: nothing was found; 1: something could not be scanned; 3: a person should look first.
set -u
images=${1:-${IMAGES:-.}}
reports=${2:-${REPORTS:-tamperscope-reports}}
mkdir -p "$reports"
tamperscope scan "$images" --recursive --out "$reports/rows.jsonl" --html "$reports"
code=$?
# Of many files the exit status is the worst, and weak signs count as worse than what could not be scanned.
if [ "$code" = 2 ] && grep -q '"status": *"error"' "$reports/rows.jsonl"; then code=1; fi
case $code in
  0) exit 0 ;;
  2) echo "tamperscope: weak signs in some pictures; see $reports" >&2; exit 0 ;;
  3) echo "tamperscope: signs of manipulation; see $reports before you publish" >&2; exit 3 ;;
  *) echo "tamperscope: not everything could be scanned; see $reports/rows.jsonl" >&2; exit 1 ;;
esac

#!/bin/sh
# The tests of calendar.sh: prints what fails and exits 1 if anything does.
cd "$(dirname "$0")" || exit 1
. ./calendar.sh
failed=0

expect() { # WHAT GOT WANT
    if [ "$2" = "$3" ]; then
        echo "ok    $1"
    else
        echo "FAIL  $1: got $2, want $3"
        failed=1
    fi
}

expect "February 2024" "$(days_in_month 2024 2)" 29
expect "February 2023" "$(days_in_month 2023 2)" 28
expect "February 2000" "$(days_in_month 2000 2)" 29
expect "February 1900" "$(days_in_month 1900 2)" 28
expect "February 2100" "$(days_in_month 2100 2)" 28
expect "last day of 1900" "$(day_of_year 1900 12 31)" 365
expect "last day of 2024" "$(day_of_year 2024 12 31)" 366
exit $failed

# Calendar arithmetic, for scripts that have no date(1) to ask.

# is_leap YEAR succeeds when the year has a 29th of February.
is_leap() {
    [ $(($1 % 4)) -eq 0 ]
}

# days_in_month YEAR MONTH prints how many days the month has.
days_in_month() {
    case $2 in
    4 | 6 | 9 | 11) echo 30 ;;
    2) if is_leap "$1"; then echo 29; else echo 28; fi ;;
    *) echo 31 ;;
    esac
}

# day_of_year YEAR MONTH DAY prints the day's number in its year, from 1.
day_of_year() {
    total=$3
    month=1
    while [ "$month" -lt "$2" ]; do
        total=$((total + $(days_in_month "$1" "$month")))
        month=$((month + 1))
    done
    echo "$total"
}
